import type { Context } from 'hono';
import { type ApiEnv, asFailure, describeFailure, reply } from './http-reply.ts';
import type { OutputStream, RunOptions } from './sandbox/run.ts';

/** So much of each stream is sent as it comes; the result has all of it. */
const MAX_LIVE_BYTES = 256 * 1024;

/** So long nothing is sent at most: a reader can tell a quiet run from a dead connection. */
const PING_MS = 5000;

/** A run that ends sooner is answered whole, where the caller takes that too: a stream costs more than it tells. */
const PATIENCE_MS = 100;

/**
 * Answers a run as JSON lines: output as it comes, then `result`, or `error` for a run that was lost half-way.
 * What fails before anything was sent is thrown, to be an ordinary error.
 */
export async function streamLines(
  c: Context<ApiEnv>,
  run: (options: RunOptions) => Promise<{ body: Readonly<Record<string, unknown>> }>,
): Promise<Response> {
  const requestId = c.get('requestId');
  const lines = createLines();
  const leftBytes = { stdout: MAX_LIVE_BYTES, stderr: MAX_LIVE_BYTES };
  const onOutput = (stream: OutputStream, text: string) => {
    if (leftBytes[stream] <= 0) return;
    leftBytes[stream] -= Buffer.byteLength(text);
    if (leftBytes[stream] >= 0) lines.send({ type: stream, data: text });
  };

  const running = run({ signal: c.req.raw.signal, onOutput });
  if (c.req.header('accept')?.includes('application/json') === true) {
    const whole = await within(PATIENCE_MS, running);
    if (whole !== undefined) return reply(c, whole.body, 200);
  }
  const readable = lines.open();
  const finished = running
    .then(({ body }) => lines.send({ ...body, request_id: requestId, type: 'result' }))
    .catch((failure: unknown) => {
      if (!lines.haveBegun()) throw failure;
      lines.send({ ...describeFailure(asFailure(failure)).body, request_id: requestId, type: 'error' });
    })
    .finally(() => lines.end());
  await Promise.race([lines.begun, finished]);
  return c.body(readable, 200, { 'Content-Type': 'application/x-ndjson', 'Cache-Control': 'no-store' });
}

/** What comes in time; undefined when it does not. */
async function within<T>(ms: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, ms, undefined);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A body that is written line by line; once it is open, and until it is ended, it pings in between. */
function createLines() {
  const early: Buffer[] = [];
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  let pings: NodeJS.Timeout | undefined;
  let hasBegun = false;
  let begin = () => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const send = (line: Readonly<Record<string, unknown>>) => {
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    if (pings === undefined) early.push(bytes);
    else controller?.enqueue(bytes);
    pings?.refresh();
    hasBegun = true;
    begin();
  };
  return {
    /** Resolves with the first line. */
    begun,
    haveBegun: () => hasBegun,
    send,
    open() {
      pings = setInterval(() => send({ type: 'ping' }), PING_MS).unref();
      return new ReadableStream<Uint8Array>({
        start(given) {
          controller = given;
          for (const bytes of early.splice(0)) given.enqueue(bytes);
        },
        // Whoever reads no more has closed the connection, which the run hears of by itself.
        cancel() {
          controller = undefined;
        },
      });
    },
    end() {
      clearInterval(pings);
      controller?.close();
      controller = undefined;
    },
  };
}
