import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { failureNamed, failures } from '../contract/failures.ts';
import { outputEvent } from '../contract/hopx.ts';
import type { Broken, Reply, WireRequest } from './transport.ts';

/** Frames of `/execute/stream` as HopX's docs and SDKs have them. */
const resultFrame = z.looseObject({
  type: z.literal('result'),
  exit_code: z.number(),
  execution_time: z.number().nullish(),
});
const errorFrame = z.looseObject({ type: z.literal('error'), error: z.string(), code: z.string().nullish() });

type SocketRunOptions = {
  request: WireRequest;
  handshakeTimeoutMs: number;
  maxBytes: number;
  now: () => number;
};

/**
 * One run over HopX's WebSocket, where its output can be heard as it comes; the end is told as the answer that
 * `/execute` would have given, so that it is classified like any other.
 */
export function runOverSocket({
  request,
  handshakeTimeoutMs,
  maxBytes,
  now,
}: SocketRunOptions): Promise<Reply | Broken> {
  return new Promise((resolve) => {
    const startedMs = now();
    const output = { stdout: '', stderr: '' };
    let sent = false;
    let last: { status: number; body: object } | undefined;
    const socket = new WebSocket(`${request.origin.replace(/^http/, 'ws')}${request.path}`, {
      headers: { ...request.headers },
      handshakeTimeout: handshakeTimeoutMs,
      followRedirects: false,
      maxPayload: maxBytes,
    });
    const abort = () => socket.terminate();
    const silence = setTimeout(
      () =>
        finish({
          kind: 'broken',
          sent,
          errorCode: 'UND_ERR_HEADERS_TIMEOUT',
          message: 'no end came in time',
        }),
      request.timeoutMs,
    );

    type End = Omit<Reply, 'elapsedMs'> | Omit<Broken, 'elapsedMs'>;
    const finish = (end: End) => {
      clearTimeout(silence);
      request.signal?.removeEventListener('abort', abort);
      socket.terminate();
      resolve({ ...end, elapsedMs: now() - startedMs });
    };
    const lost = (errorCode: string, message: string) =>
      finish({ kind: 'broken', sent, errorCode: request.signal?.aborted ? 'ABORTED' : errorCode, message });

    const take = (frame: unknown) => {
      const piece = outputEvent.safeParse(frame).data;
      if (piece !== undefined) {
        if (output[piece.type].length < maxBytes) output[piece.type] += piece.data;
        request.onEvent?.(piece);
      }
      const result = resultFrame.safeParse(frame).data;
      if (result !== undefined)
        last = { status: 200, body: { ...result, ...output, success: result.exit_code === 0 } };
      const error = errorFrame.safeParse(frame).data;
      if (error !== undefined) {
        const code = failureNamed(error.code ?? undefined);
        last = { status: (code && failures[code].status) ?? 500, body: error };
      }
      // What ends a run is its result; `complete` only says so once more.
      if (last !== undefined) finish({ kind: 'reply', headers: {}, cut: false, ...last });
    };

    request.signal?.addEventListener('abort', abort, { once: true });
    if (request.signal?.aborted) abort();
    socket.on('open', () => {
      sent = true;
      socket.send(request.body ?? '');
    });
    socket.on('message', (data) => take(parseFrame(String(data))));
    socket.on('unexpected-response', (_request, response: IncomingMessage) => {
      void readRefusal(response).then((body) =>
        finish({
          kind: 'reply',
          status: response.statusCode ?? 0,
          headers: flat(response),
          body,
          cut: false,
        }),
      );
    });
    socket.on('error', (error) =>
      lost('code' in error && typeof error.code === 'string' ? error.code : 'UND_ERR_SOCKET', error.message),
    );
    socket.on('close', () => lost('UND_ERR_SOCKET', 'the connection ended before the run'));
  });
}

/** Refusals are short; what is longer is a page of somebody else's. */
const MAX_REFUSAL_CHARS = 100_000;

async function readRefusal(response: IncomingMessage): Promise<unknown> {
  let text = '';
  try {
    for await (const chunk of response) {
      text += String(chunk);
      if (text.length > MAX_REFUSAL_CHARS) break;
    }
  } catch {
    // What came of it says enough, or nothing.
  }
  return parseFrame(text);
}

function parseFrame(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // HopX sends empty frames now and then (hopx-ai/hopx issue 31).
    return undefined;
  }
}

function flat({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}
