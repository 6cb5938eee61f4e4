import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

/**
 * What can happen to one request. `before` faults do nothing, `after` faults do the work and spoil the answer.
 */
export const faults = [
  'refused', // 503 in HopX's own words: nothing was done
  'rate', // 429 with a short retry_after: nothing was done
  'proxy-before', // a proxy's 503 page, nothing was done
  'proxy-after', // the same page, though it was done
  'internal-before',
  'internal-after',
  'reset-before',
  'reset-after',
  'cut-after',
  'html-after',
  'no-id-after', // an answer that lacks what it should tell
  'echo-before', // an error that repeats what the request carried, secrets and all
] as const;
export type Fault = (typeof faults)[number];

type FaultyHopxOptions = {
  /** Chooses what happens to the nth request of a route. */
  fault(route: string): Fault | undefined;
  /** Whether `env_vars` of a create reach the sandbox; HopX's service is not known to do so. */
  appliesEnv?: boolean;
  random?: () => number;
};

type Box = {
  id: string;
  owner: 'client' | 'foreign';
  timeoutSeconds: number;
  template: string;
  createdAt: string;
  env: Record<string, string>;
};

/** Parses only what the fake needs; a test client sends nothing else. */
type Body = {
  code?: string;
  timeout_seconds?: number;
  template_name?: string;
  env_vars?: Record<string, string>;
};

export type FaultyHopx = {
  url: string;
  /** Sandboxes that exist. */
  boxes: ReadonlyMap<string, Readonly<Box>>;
  /** How often each code was run. */
  executions: ReadonlyMap<string, number>;
  readonly requests: number;
  /** Which of the secrets of this API stand in a text, whole or by their beginning or end. */
  secretsIn(text: string): string[];
  /** Deletions of sandboxes that another program had made. */
  readonly foreignDeletions: number;
  /** Somebody else makes a sandbox on the same account. */
  createForeign(timeoutSeconds: number): string;
  close(): Promise<void>;
};

/** A HopX API that keeps real state and spoils a chosen share of its answers. */
export async function startFaultyHopx({
  fault,
  appliesEnv = true,
  random = Math.random,
}: FaultyHopxOptions): Promise<FaultyHopx> {
  const boxes = new Map<string, Box>();
  const executions = new Map<string, number>();
  const secrets = new Set<string>();
  let requests = 0;
  let foreignDeletions = 0;
  let url = '';
  let lastId = 0;

  const create = (owner: Box['owner'], body: Body): Box => {
    lastId += 1;
    const id = `sbx${lastId}${Math.floor(random() * 1e6)}`;
    const box: Box = {
      id,
      owner,
      timeoutSeconds: body.timeout_seconds ?? 0,
      template: body.template_name ?? '',
      createdAt: new Date().toISOString(),
      env: appliesEnv ? { ...body.env_vars } : {},
    };
    boxes.set(id, box);
    return box;
  };
  const issueToken = () => {
    const token = Array.from({ length: 4 }, () => Math.floor(random() * 2 ** 40).toString(36)).join('');
    secrets.add(token);
    return token;
  };
  const show = ({ id, timeoutSeconds, template, createdAt }: Box) => ({
    id,
    status: 'running',
    template_name: template,
    timeout_seconds: timeoutSeconds,
    created_at: createdAt,
    public_host: `${url}/vms/${id}`,
  });

  type Done = { status: number; body: object };
  const withBox: Record<string, (box: Box, body: Body) => Done> = {
    'GET /v1/sandboxes/{id}': (box) => ({ status: 200, body: show(box) }),
    'POST /v1/sandboxes/{id}/token/refresh': () => ({ status: 200, body: { auth_token: issueToken() } }),
    'DELETE /v1/sandboxes/{id}': ({ id, owner }) => {
      boxes.delete(id);
      if (owner === 'foreign') foreignDeletions += 1;
      return { status: 200, body: { id, status: 'deleted' } };
    },
    'GET /env': ({ env }) => ({ status: 200, body: { env_vars: env } }),
    'PATCH /env': ({ env }, { env_vars: more }) => {
      Object.assign(env, more);
      return { status: 200, body: { env_vars: env } };
    },
    'POST /execute': (_box, { code = '' }) => {
      executions.set(code, (executions.get(code) ?? 0) + 1);
      return {
        status: 200,
        body: { success: true, stdout: code, stderr: '', exit_code: 0, execution_time: 0 },
      };
    },
  };
  const work = (route: string, id: string, body: Body): Done => {
    if (route === 'POST /v1/sandboxes')
      return { status: 201, body: { ...show(create('client', body)), auth_token: issueToken() } };
    if (route === 'GET /v1/sandboxes')
      return { status: 200, body: { data: [...boxes.values()].map(show), has_more: false } };
    const box = boxes.get(id);
    const does = withBox[route];
    if (box !== undefined && does !== undefined) return does(box, body);
    return { status: 404, body: { error: 'Sandbox not found', code: 'RESOURCE_NOT_FOUND' } };
  };

  const server = createServer(async (request, response) => {
    requests += 1;
    const { route, id } = routeOf(request);
    const body = await readBody(request);
    const spoiled = fault(route);
    const done = spoiled === undefined || spoiled.endsWith('-after') ? work(route, id, body) : undefined;
    const apiKey = request.headers['x-api-key'];
    if (typeof apiKey === 'string') secrets.add(apiKey);
    if (spoiled === 'echo-before') answer(response, undefined, echo(request, random));
    else answer(response, spoiled, done ?? { status: 200, body: {} });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  return {
    url,
    boxes,
    executions,
    get requests() {
      return requests;
    },
    secretsIn: (text) =>
      [...secrets].filter((secret) =>
        [secret.slice(0, 14), secret.slice(-8)].some((part) => text.includes(part)),
      ),
    get foreignDeletions() {
      return foreignDeletions;
    },
    createForeign: (timeoutSeconds) =>
      create('foreign', { timeout_seconds: timeoutSeconds, template_name: 'code-interpreter' }).id,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Of any length before the secret, as what shows an error cuts it. */
function echo({ headers }: IncomingMessage, random: () => number) {
  const secret = headers.authorization ?? headers['x-api-key'];
  const error = `${'x'.repeat(random() * 250)} request carried ${secret}`;
  return { status: 500, body: { error, code: 'INTERNAL_ERROR', request_id: secret } };
}

function routeOf({ method, url = '' }: IncomingMessage): { route: string; id: string } {
  const [, id = '', rest = ''] = /^\/(?:vms|v1\/sandboxes)\/([^/?]+)([^?]*)/.exec(url) ?? [];
  const isAgent = url.startsWith('/vms/');
  const path = isAgent ? rest : id === '' ? '/v1/sandboxes' : `/v1/sandboxes/{id}${rest}`;
  return { route: `${method} ${path}`, id };
}

async function readBody(request: IncomingMessage): Promise<Body> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  const text = Buffer.concat(chunks).toString();
  return text === '' ? {} : JSON.parse(text);
}

const pages: Record<
  Exclude<Fault, `reset-${string}` | 'cut-after' | 'html-after' | 'no-id-after' | 'echo-before'>,
  [number, object | string]
> = {
  refused: [503, { error: 'Service temporarily unavailable', code: 'SERVICE_UNAVAILABLE' }],
  rate: [429, { error: 'Rate limit exceeded', code: 'RATE_LIMIT_EXCEEDED', retry_after: 0.002 }],
  'proxy-before': [503, '<html><body>upstream connect error</body></html>'],
  'proxy-after': [503, '<html><body>upstream connect error</body></html>'],
  'internal-before': [500, { error: 'Internal server error', code: 'INTERNAL_ERROR' }],
  'internal-after': [500, { error: 'Internal server error', code: 'INTERNAL_ERROR' }],
};

function answer(
  response: ServerResponse,
  fault: Exclude<Fault, 'echo-before'> | undefined,
  done: { status: number; body: object },
): void {
  const send = (status: number, body: object | string) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    response.writeHead(status, { 'content-length': String(Buffer.byteLength(text)) }).end(text);
  };
  switch (fault) {
    case undefined:
      send(done.status, done.body);
      break;
    case 'reset-before':
    case 'reset-after':
      response.socket?.resetAndDestroy();
      break;
    case 'cut-after': {
      const text = JSON.stringify(done.body);
      response.writeHead(done.status, { 'content-length': String(Buffer.byteLength(text)) });
      response.write(text.slice(0, 20), () => response.socket?.destroy());
      break;
    }
    case 'html-after':
      send(done.status, '<html><body>hello</body></html>');
      break;
    case 'no-id-after':
      send(done.status, { status: 'fine' });
      break;
    default:
      send(...pages[fault]);
  }
}
