import { Agent, type Dispatcher } from 'undici';
import { createReplyBody, type OnEvent, type ReplyBody } from './reply-body.ts';

export type WireRequest = {
  method: Dispatcher.HttpMethod;
  origin: string;
  path: string;
  headers: Readonly<Record<string, string>>;
  body?: string;
  /** Until the status line, and between two pieces of the body. */
  timeoutMs: number;
  /** A new connection: a create must not meet a kept-alive socket that the server is just closing. */
  fresh?: boolean;
  signal?: AbortSignal;
  /** A run over a WebSocket; the body is its first frame. */
  overSocket?: boolean;
  /** Hears the lines of a streamed reply before its last. */
  onEvent?: OnEvent;
};

/** A reply as far as it came: `cut` says that the body ended early, broke off or was larger than allowed. */
export type Reply = {
  kind: 'reply';
  status: number;
  headers: Readonly<Record<string, string>>;
  /** The parsed JSON, or undefined where the body is something else or was cut. */
  body: unknown;
  cut: boolean;
  elapsedMs: number;
};

/** No status line came. Without `sent` nothing of the request had left this machine. */
export type Broken = { kind: 'broken'; sent: boolean; errorCode: string; message: string; elapsedMs: number };

export type Transport = {
  send(request: WireRequest): Promise<Reply | Broken>;
  close(): Promise<void>;
};

type TransportOptions = {
  /** A unix socket that everything goes to, instead of the origin's host and port. */
  socketPath?: string | undefined;
  connections?: number;
  maxBodyBytes?: number;
  now?: () => number;
};

/** A run's output comes whole in one body; what is larger than this belongs in a file. */
const MAX_BODY_BYTES = 32 * 1024 * 1024;
/** Room for two lost packets, which TCP sends again after 1 s and 3 s. */
const CONNECT_TIMEOUT_MS = 5_000;
/** Below the usual 5 s of servers, so that it is mostly we who close an idle connection. */
const KEEP_ALIVE_MS = 4_000;

/** One HTTP attempt at a time over undici: no retries, no redirects, a bounded body. */
export function createTransport({
  socketPath,
  connections = 64,
  maxBodyBytes = MAX_BODY_BYTES,
  now = () => performance.now(),
}: TransportOptions = {}): Transport {
  const options: Agent.Options = {
    allowH2: false,
    connections,
    connect: { timeout: CONNECT_TIMEOUT_MS, ...(socketPath !== undefined && { socketPath }) },
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: 10_000,
  };
  const warm = new Agent(options);
  const cold = new Agent({ ...options, pipelining: 0 });

  return {
    send: async (request) => {
      if (request.overSocket !== true) return sendRequest(request);
      // Only who listens to a run in the cloud needs it.
      const { runOverSocket } = await import('./socket-run.ts');
      return runOverSocket({ request, handshakeTimeoutMs: CONNECT_TIMEOUT_MS, maxBytes: maxBodyBytes, now });
    },
    async close() {
      await Promise.all([warm.destroy(), cold.destroy()]);
    },
  };

  function sendRequest(request: WireRequest): Promise<Reply | Broken> {
    return new Promise((resolve) => {
      const startedMs = now();
      let sent = false;
      let head: { status: number; headers: Record<string, string>; reading: ReplyBody } | undefined;
      let abort = () => {};
      const done = (end: Reply | Broken) => {
        request.signal?.removeEventListener('abort', abort);
        resolve(end);
      };
      const broken = (errorCode: string, message: string) =>
        done({ kind: 'broken', sent, errorCode, message, elapsedMs: now() - startedMs });
      const reply = (cut: boolean) => {
        if (head === undefined) {
          broken('UND_ERR_SOCKET', 'the connection ended before the status line');
          return;
        }
        const { status, headers, reading } = head;
        const body = cut ? undefined : reading.end();
        done({ kind: 'reply', status, headers, body, cut, elapsedMs: now() - startedMs });
      };
      if (request.signal?.aborted) {
        broken('ABORTED', 'cancelled before it was sent');
        return;
      }
      (request.fresh ? cold : warm).dispatch(
        {
          origin: request.origin,
          path: request.path,
          method: request.method,
          headers: request.headers,
          body: request.body ?? null,
          headersTimeout: request.timeoutMs,
          bodyTimeout: request.timeoutMs,
        },
        {
          onRequestStart(controller) {
            sent = true;
            abort = () => controller.abort(new Error('cancelled'));
            request.signal?.addEventListener('abort', abort, { once: true });
            if (request.signal?.aborted) abort();
          },
          onResponseStart(_controller, status, headers) {
            const flat = flatHeaders(headers);
            const reading = createReplyBody(
              flat['content-type'] ?? '',
              maxBodyBytes,
              request.onEvent ?? (() => {}),
            );
            head = { status, headers: flat, reading };
          },
          onResponseData(controller, chunk) {
            if (head?.reading.add(chunk) === false) controller.abort(new Error('the body is too large'));
          },
          onResponseEnd() {
            reply(false);
          },
          onResponseError(_controller, error) {
            if (request.signal?.aborted) broken('ABORTED', error.message);
            else if (head === undefined) broken(errorCode(error), error.message);
            else reply(true);
          },
        },
      );
    });
  }
}

function flatHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return flat;
}

/** The code that Node or undici gave, from inside an AggregateError where each address failed on its own. */
function errorCode(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  if (error instanceof AggregateError) return errorCode(error.errors[0]);
  return error instanceof Error ? error.name : 'UNKNOWN';
}
