import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A reply of the script: plain, or one that misbehaves on the wire. */
export type Reply = {
  status?: number;
  headers?: Record<string, string>;
  /** An object goes as JSON, a string as it is. */
  body?: unknown;
  /** `reset`: no status line, the connection is reset. `cut`: half of the body. `hang`: never answers. */
  wire?: 'reset' | 'cut' | 'hang';
};

export type Received = {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: unknown;
  atMs: number;
  /** How many connections had been opened when it came. */
  connection: number;
};

/** Answers a request; the last of a list answers all that come after. */
export type Script = Record<
  string,
  Reply | readonly Reply[] | ((request: Received, nth: number) => Reply | Promise<Reply>)
>;

export type ScriptedServer = {
  url: string;
  /** All requests to a route such as `POST /v1/sandboxes`; a sandbox id in a path reads `{id}`. */
  received(route: string): Received[];
  readonly requests: readonly Received[];
  close(): Promise<void>;
};

/** A sandbox as the control plane describes it, its agent on the same server. */
export function sandboxBody(url: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'sbx1',
    status: 'running',
    public_host: `${url}/vms/sbx1`,
    template_name: 'code-interpreter',
    timeout_seconds: 1800,
    created_at: '2026-01-01T00:00:00Z',
    expires_at: '2026-01-01T00:30:00Z',
    auth_token: 'token-one',
    token_expires_at: '2999-01-01T00:00:00Z',
    ...more,
  };
}

export function routeOf(method: string, path: string): string {
  const plain = path.split('?')[0] ?? '';
  return `${method} ${plain.replace(/^\/vms\/[^/]+/, '').replace(/^\/v1\/sandboxes\/[^/]+/, '/v1/sandboxes/{id}')}`;
}

/** A real loopback server that plays a script, whatever the client does. */
export async function startScriptedServer(scriptFor: (url: string) => Script): Promise<ScriptedServer> {
  const requests: Received[] = [];
  let connections = 0;
  let script: Script = {};
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(Buffer.from(chunk));
    } catch {
      return;
    }
    const text = Buffer.concat(chunks).toString();
    const received: Received = {
      method: request.method ?? '',
      path: request.url ?? '',
      headers: request.headers,
      body: text === '' ? undefined : JSON.parse(text),
      atMs: performance.now(),
      connection: connections,
    };
    const route = routeOf(received.method, received.path);
    const nth = requests.filter((earlier) => routeOf(earlier.method, earlier.path) === route).length;
    requests.push(received);
    const scripted = script[route] ?? {
      status: 404,
      body: { error: `no script for ${route}`, code: 'RESOURCE_NOT_FOUND' },
    };
    await send(await chosen(scripted, received, nth), response);
  });
  server.on('connection', () => {
    connections += 1;
  });
  server.keepAliveTimeout = 30_000;
  const port = await listen(server);
  const url = `http://127.0.0.1:${port}`;
  script = scriptFor(url);
  return {
    url,
    requests,
    received: (route) => requests.filter(({ method, path }) => routeOf(method, path) === route),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function chosen(scripted: Script[string], received: Received, nth: number): Promise<Reply> {
  if (typeof scripted === 'function') return scripted(received, nth);
  if (!isList(scripted)) return scripted;
  return scripted[Math.min(nth, scripted.length - 1)] ?? {};
}

function isList(scripted: Reply | readonly Reply[]): scripted is readonly Reply[] {
  return Array.isArray(scripted);
}

async function send(
  { status = 200, headers = {}, body = {}, wire }: Reply,
  response: ServerResponse,
): Promise<void> {
  if (wire === 'hang') return;
  if (wire === 'reset') {
    response.socket?.resetAndDestroy();
    return;
  }
  const payload = typeof body === 'string' ? body : JSON.stringify(body);
  response.writeHead(status, {
    'content-type': typeof body === 'string' ? 'text/html' : 'application/json',
    'content-length': String(Buffer.byteLength(payload)),
    ...headers,
  });
  if (wire === 'cut')
    response.write(payload.slice(0, Math.floor(payload.length / 2)), () => response.socket?.destroy());
  else response.end(status === 204 ? undefined : payload);
}

/** A loopback port that refuses connections. */
export async function closedPort(): Promise<number> {
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function listen(server: ReturnType<typeof createServer>): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address: AddressInfo | string | null = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}
