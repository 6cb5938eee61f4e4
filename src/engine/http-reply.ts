import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import { type FailureCode, failures, SandboxFailure } from '../contract/failures.ts';
import type { Log } from '../log.ts';
import { EngineFailure } from './engine-failure.ts';

/** What is short on this machine is free again within a moment. */
const RETRY_SECONDS = 1;

/** What every handler of the engine's HTTP API finds in its context. */
export type ApiEnv = { Bindings: HttpBindings; Variables: { requestId: string; sandboxId: string } };

type FailureStatus = Exclude<(typeof failures)[FailureCode]['status'], null> | 405 | 413;

/** A JSON body that also carries the request's id, as all of HopX's do. */
export function reply(
  c: Context<ApiEnv>,
  body: Readonly<Record<string, unknown>>,
  status: 200 | 201 | FailureStatus = 200,
): Response {
  return c.json({ ...body, request_id: c.get('requestId') }, status);
}

/** HopX's flat error body; `message` repeats the text for the JS SDK, which reads only that. */
export function errorReply(
  c: Context<ApiEnv>,
  { status, code, text }: { status: FailureStatus; code: string; text: string },
): Response {
  return reply(c, { error: text, message: text, code }, status);
}

/** What a failure says on the wire: the status, and the body but for the request's id. */
export function describeFailure(failure: SandboxFailure): {
  status: FailureStatus;
  body: Record<string, unknown>;
  retryAfterSeconds: number | undefined;
} {
  const code = wireCode(failure);
  const status = failure.facts.httpStatus === 413 ? 413 : (failures[code].status ?? 500);
  const text = failure.message;
  const retryAfterSeconds = failure.facts.retryAfterSeconds ?? (status === 503 ? RETRY_SECONDS : undefined);
  const details = failure instanceof EngineFailure ? failure.details : {};
  return {
    status,
    body: { error: text, message: text, code, ...details, retry_after: retryAfterSeconds },
    retryAfterSeconds,
  };
}

/** The same failure, or for what is none of the catalogue one that tells the caller nothing. */
export function asFailure(thrown: unknown): SandboxFailure {
  if (thrown instanceof SandboxFailure) return thrown;
  return new SandboxFailure('INTERNAL_ERROR', { message: 'Internal server error', cause: thrown });
}

/** The reply to whatever a handler threw. */
export function failureReply(c: Context<ApiEnv>, thrown: unknown, log: Log): Response {
  const failure = asFailure(thrown);
  const { status, body, retryAfterSeconds } = describeFailure(failure);
  // The rest of a body that nobody reads stands in the way of the next request.
  if (status === 413) c.header('Connection', 'close');
  if (retryAfterSeconds !== undefined) c.header('Retry-After', String(retryAfterSeconds));
  if (status >= 500) {
    const { cause } = failure.facts;
    const error = cause instanceof Error ? cause.stack : cause;
    log.error('request failed', { request_id: c.get('requestId'), message: failure.message, error });
  }
  return reply(c, body, status);
}

/** HopX's code for a failure; the catalogue's own codes do not cross the wire. */
function wireCode({ code, facts }: SandboxFailure): FailureCode {
  if (code === 'ENGINE_UNAVAILABLE') return 'SERVICE_UNAVAILABLE';
  // A caller reads from most codes that nothing was done, and may do it again.
  const saysTooMuch = facts.outcome === 'unknown' && failures[code].outcome !== 'unknown';
  return failures[code].status === null || saysTooMuch ? 'INTERNAL_ERROR' : code;
}
