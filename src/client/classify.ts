import { type FailureFacts, failureForStatus, failureNamed, SandboxFailure } from '../contract/failures.ts';
import { type ErrorBody, isResultBody, parseErrorBody } from '../contract/hopx.ts';
import type { Operation } from './operations.ts';
import { policyInText, retryAfterMs } from './rate-hints.ts';
import type { Broken, Reply } from './transport.ts';

/** What one attempt comes to. `failure` is what the caller gets should no other attempt follow. */
export type Verdict =
  | { kind: 'result'; status: number; body: unknown; requestId?: string }
  | {
      kind: 'again';
      why: 'rate';
      waitMs: number | undefined;
      policy: { limit: number; windowMs: number } | undefined;
      failure: SandboxFailure;
    }
  | { kind: 'again'; why: 'fault' | 'not_sent' | 'auth'; failure: SandboxFailure }
  | { kind: 'unknown'; failure: SandboxFailure }
  | { kind: 'fail'; failure: SandboxFailure };

/** Nothing about these gets better by asking again. */
const PERMANENT =
  /^(CERT_|ERR_TLS|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|UND_ERR_INVALID_ARG|ERR_INVALID)/;
const TIMED_OUT = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);
const LIMIT_REACHED = /limit reached|\(\d+\s*\/\s*\d+\)/i;

/** The decision table: an operation and what came back for one attempt, to what it means. Pure. */
export function classify(operation: Operation, reply: Reply | Broken, nowMs: number): Verdict {
  const endpoint = `${operation.method} ${operation.route}`;
  return reply.kind === 'broken'
    ? classifyBroken(operation, reply, endpoint)
    : classifyReply(operation, reply, endpoint, nowMs);
}

function classifyBroken(
  operation: Operation,
  { sent, errorCode, message }: Broken,
  endpoint: string,
): Verdict {
  const facts = { endpoint, outcome: sent ? 'unknown' : 'not_performed', upstreamCode: errorCode } as const;
  if (errorCode === 'ABORTED') return { kind: 'fail', failure: new SandboxFailure('CANCELLED', facts) };
  const code = TIMED_OUT.has(errorCode) ? 'REQUEST_TIMEOUT' : 'NETWORK_ERROR';
  const told = { ...facts, upstreamText: message };
  if (!sent) {
    if (PERMANENT.test(errorCode)) {
      return { kind: 'fail', failure: new SandboxFailure(code, { ...told, retryable: false }) };
    }
    return { kind: 'again', why: 'not_sent', failure: new SandboxFailure(code, told) };
  }
  const lost = `The connection to the sandbox API ${code === 'REQUEST_TIMEOUT' ? 'timed out' : 'broke'} after the request was sent.`;
  return afterDoubt(operation, new SandboxFailure(code, { ...told, message: lost }));
}

function classifyReply(operation: Operation, reply: Reply, endpoint: string, nowMs: number): Verdict {
  const { status, body } = reply;
  if (operation.safety === 'exec' && !reply.cut && isResultBody(body)) return resultOf(reply);
  const error = parseErrorBody(body);
  const facts = factsOf(reply, error, endpoint);
  if (status >= 200 && status < 300) return classifySuccess(operation, reply, facts);
  if (status < 400) {
    const message = `The sandbox API answered with a redirect (${status}), which is not followed.`;
    return { kind: 'fail', failure: new SandboxFailure('INVALID_RESPONSE', { ...facts, message }) };
  }
  if (status < 500) return classifyRefusal(operation, reply, error, facts, nowMs);
  const named = failureNamed(error.code);
  if (status === 503) {
    const failure = new SandboxFailure('SERVICE_UNAVAILABLE', facts);
    // HopX's own code proves that the request was refused before it ran; a proxy's page proves nothing.
    return named === 'SERVICE_UNAVAILABLE'
      ? { kind: 'again', why: 'fault', failure }
      : afterDoubt(operation, failure);
  }
  const code = status === 500 ? (named ?? 'INTERNAL_ERROR') : 'UPSTREAM_ERROR';
  return afterDoubt(operation, new SandboxFailure(code, facts));
}

function classifyRefusal(
  operation: Operation,
  { status, headers }: Reply,
  error: ErrorBody,
  facts: FailureFacts,
  nowMs: number,
): Verdict {
  const named = failureNamed(error.code);
  const quota = named === 'RESOURCE_LIMIT_ERROR' || LIMIT_REACHED.test(error.text ?? '');
  if (quota && (status === 429 || status === 403)) {
    return { kind: 'fail', failure: new SandboxFailure('RESOURCE_LIMIT_ERROR', facts) };
  }
  switch (status) {
    case 401:
      if (operation.plane === 'control') break;
      return { kind: 'again', why: 'auth', failure: new SandboxFailure('INVALID_TOKEN', facts) };
    case 408:
      if (named === 'EXECUTION_TIMEOUT') break;
      return afterDoubt(operation, new SandboxFailure('REQUEST_TIMEOUT', facts));
    case 429: {
      const waitMs = retryAfterMs(headers, error.retryAfterSeconds, nowMs);
      const retryAfterSeconds = waitMs === undefined ? {} : { retryAfterSeconds: Math.ceil(waitMs / 1000) };
      const failure = new SandboxFailure('RATE_LIMIT_EXCEEDED', { ...facts, ...retryAfterSeconds });
      return { kind: 'again', why: 'rate', waitMs, policy: policyInText(error.text), failure };
    }
  }
  const code = named ?? failureForStatus(status);
  const unknownRefusal = code === 'UPSTREAM_ERROR' ? { retryable: false } : {};
  return { kind: 'fail', failure: new SandboxFailure(code, { ...facts, ...unknownRefusal }) };
}

function classifySuccess({ safety }: Operation, reply: Reply, facts: FailureFacts): Verdict {
  const { status, body, cut } = reply;
  if (!cut && (body !== undefined || status === 204)) return resultOf(reply);
  const message = `The sandbox API's answer ${cut ? 'broke off or was too large' : 'was not JSON'}.`;
  switch (safety) {
    case 'read':
      return {
        kind: 'again',
        why: 'fault',
        failure: new SandboxFailure('INVALID_RESPONSE', { ...facts, message }),
      };
    case 'idempotent':
      return { kind: 'result', status, body: undefined };
    case 'create':
      return {
        kind: 'unknown',
        failure: new SandboxFailure('INVALID_RESPONSE', { ...facts, message, outcome: 'unknown' }),
      };
    case 'exec':
      return {
        kind: 'fail',
        failure: new SandboxFailure('INVALID_RESPONSE', { ...facts, message, outcome: 'performed' }),
      };
  }
}

function resultOf({ status, headers, body }: Reply): Verdict {
  const requestId = headers['x-request-id'];
  return { kind: 'result', status, body, ...(requestId !== undefined && { requestId }) };
}

/** It may have happened: what is harmless twice is repeated, the rest is left in doubt and said so. */
function afterDoubt({ safety }: Operation, failure: SandboxFailure): Verdict {
  if (safety === 'read' || safety === 'idempotent') return { kind: 'again', why: 'fault', failure };
  return {
    kind: 'unknown',
    failure: new SandboxFailure(failure.code, { ...failure.facts, outcome: 'unknown', retryable: false }),
  };
}

function factsOf({ status, headers }: Reply, error: ErrorBody, endpoint: string): FailureFacts {
  const requestId = error.requestId ?? headers['x-request-id'];
  return {
    endpoint,
    httpStatus: status,
    ...(requestId !== undefined && { requestId }),
    ...(error.code !== undefined && { upstreamCode: error.code }),
    ...(error.text !== undefined && { upstreamText: error.text }),
  };
}
