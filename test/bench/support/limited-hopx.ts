import { createServer, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { seededRandom } from '../../support/seeded-random.ts';
import { type Admission, createRateLimiter, rateLimit } from './rate-limit.ts';

export const limitedHopxOptions = z.object({
  rate: rateLimit.optional(),
  /** What one count is for; the control plane always has one of its own. */
  rateFor: z.enum(['sandbox', 'account']).default('account'),
  /** `X-RateLimit-*` on every answer. */
  headers: z.boolean().default(false),
  /** Reset times are rounded down to this and told with as many digits, waits up: HopX tells whole seconds. */
  resetStepMs: z.number().default(1),
  retryStepMs: z.number().default(1),
  /** What the text of a refusal says of the limit. */
  refusalText: z.string().default('Rate limit exceeded'),
  /** Shares of executes that get a JSON 503 before, a reset after, a proxy's 503 after the code ran. */
  refused: z.number().default(0),
  lost: z.number().default(0),
  proxied: z.number().default(0),
  /** From the first execute on, so long every one gets a JSON 503. */
  outageMs: z.number().default(0),
});
export type LimitedHopxOptions = z.input<typeof limitedHopxOptions>;

/** Seen by the server, of executes alone; `repeated` is how many codes ran more than once. */
export const counts = z.object({
  requests: z.number(),
  throttled: z.number(),
  executions: z.number(),
  repeated: z.number(),
});
export type Counts = z.output<typeof counts>;

type Sent = { status: number; body: object | string };

const refusal: Sent = {
  status: 503,
  body: { error: 'Service temporarily unavailable', code: 'SERVICE_UNAVAILABLE' },
};
const page: Sent = { status: 503, body: '<html><body>upstream connect error</body></html>' };

/** A HopX API of one account that counts requests, refuses what is too much and spoils a share of answers. */
export async function startLimitedHopx(
  given: LimitedHopxOptions,
): Promise<{ url: string; counts(): Counts; close(): void }> {
  const options = limitedHopxOptions.parse(given);
  const random = seededRandom(7);
  const now = () => performance.now();
  const limiters = new Map<string, () => Admission>();
  const runs = new Map<string, number>();
  let requests = 0;
  let throttled = 0;
  let firstMs: number | undefined;
  let url = '';

  const admit = (key: string): Admission | undefined => {
    if (options.rate === undefined) return undefined;
    const limiter = limiters.get(key) ?? createRateLimiter(options.rate, now);
    limiters.set(key, limiter);
    return limiter();
  };
  const headersFor = (admission: Admission | undefined): Record<string, string> => {
    if (admission === undefined) return {};
    const { resetStepMs } = options;
    // `Date.now()` has dropped a part of a millisecond, which must not lead anyone to come too early.
    const resetMs = Math.ceil(Date.now() + 1 + admission.resetInMs);
    const toldMs = Math.floor(resetMs / resetStepMs) * resetStepMs;
    return {
      ...(!admission.isAdmitted && { 'retry-after': retryAfter(admission) }),
      ...(options.headers && {
        'x-ratelimit-limit': String(options.rate?.limit),
        'x-ratelimit-remaining': String(admission.remaining),
        'x-ratelimit-reset': (toldMs / 1000).toFixed(Math.ceil(-Math.log10(resetStepMs / 1000))),
      }),
    };
  };
  /** Seconds, rounded up, so that who obeys is not refused again. */
  const retryAfter = ({ retryInMs }: Admission) => {
    const step = options.retryStepMs;
    return ((Math.ceil(retryInMs / step) * step) / 1000).toFixed(3);
  };
  const sandbox = (id: string) => ({
    id,
    status: 'running',
    template_name: 'code-interpreter',
    public_host: `${url}/vms/${id}`,
    auth_token: 'token',
    created_at: new Date().toISOString(),
  });
  const execute = (code: string): Sent | 'lost' => {
    firstMs ??= now();
    if (now() - firstMs < options.outageMs || random() < options.refused) return refusal;
    runs.set(code, (runs.get(code) ?? 0) + 1);
    if (random() < options.lost) return 'lost';
    if (random() < options.proxied) return page;
    return {
      status: 200,
      body: { success: true, stdout: 'ok\n', stderr: '', exit_code: 0, execution_time: 0 },
    };
  };
  const manage = (method: string, id: string): Sent =>
    method === 'DELETE'
      ? { status: 200, body: { id, status: 'deleted' } }
      : { status: method === 'POST' ? 201 : 200, body: sandbox(id) };

  const handle = (method: string, path: string, text: string, response: ServerResponse) => {
    const [, plane = '', id = 'sbx1'] = /^\/(vms|v1\/sandboxes)(?:\/([^/]+))?/.exec(path) ?? [];
    const isAgent = plane === 'vms';
    const admission = admit(!isAgent ? 'control' : options.rateFor === 'sandbox' ? id : 'agents');
    if (isAgent) requests += 1;
    if (admission?.isAdmitted === false) {
      if (isAgent) throttled += 1;
      const error = { error: options.refusalText, code: 'RATE_LIMIT_EXCEEDED' };
      const body = { ...error, retry_after: Number(retryAfter(admission)) };
      send(response, { status: 429, body }, headersFor(admission));
      return;
    }
    if (!isAgent) {
      send(response, manage(method, id), headersFor(admission));
      return;
    }
    const { code = '' }: { code?: string } = text === '' ? {} : JSON.parse(text);
    const done = execute(code);
    if (done === 'lost') response.socket?.resetAndDestroy();
    else send(response, done, headersFor(admission));
  };

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      handle(request.method ?? '', request.url ?? '', Buffer.concat(chunks).toString(), response);
    });
  });
  server.keepAliveTimeout = 30_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', 1_024, resolve));
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  return {
    url,
    counts: () => {
      const times = [...runs.values()];
      return {
        requests,
        throttled,
        executions: times.reduce((sum, each) => sum + each, 0),
        repeated: times.filter((each) => each > 1).length,
      };
    },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function send(response: ServerResponse, { status, body }: Sent, headers: Record<string, string>): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  response
    .writeHead(status, {
      'content-type': typeof body === 'string' ? 'text/html' : 'application/json',
      'content-length': String(Buffer.byteLength(text)),
      ...headers,
    })
    .end(text);
}
