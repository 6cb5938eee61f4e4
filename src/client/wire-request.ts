import type { Call } from '../contract/call.ts';
import type { Access } from './credentials.ts';
import type { Operation } from './operations.ts';
import type { Request } from './perform.ts';
import type { WireRequest } from './transport.ts';

type Particulars = {
  body: string | undefined;
  controlPlane: URL;
  apiKey: string;
  /** Where the sandbox's agent is; without it the control plane is asked. */
  access: Access | undefined;
  call: Pick<Call, 'deadlineMs' | 'signal'>;
  nowMs: number;
};

/** An operation's request as HTTP: to whom, with which credential, and for how long it may take. */
export function wireRequest(
  operation: Operation,
  request: Request,
  { body, controlPlane, apiKey, access, call, nowMs }: Particulars,
): WireRequest {
  const base = access?.host ?? controlPlane;
  const route = operation.route.replace('{id}', encodeURIComponent(request.sandboxId ?? ''));
  const path = request.overSocket ? `${route}/stream` : route;
  const query = request.query === undefined ? '' : `?${new URLSearchParams(request.query)}`;
  const runsCode = operation.safety === 'exec';
  const leftMs = Math.max(1_000, call.deadlineMs - nowMs);
  const isBounded = operation.safety === 'read' || operation.safety === 'idempotent';
  return {
    method: operation.method,
    origin: base.origin,
    path: base.pathname.replace(/\/$/, '') + path + query,
    headers: {
      accept: request.onEvent === undefined ? 'application/json' : 'application/x-ndjson, application/json',
      'user-agent': 'hopx-sandbox-mcp',
      ...(access === undefined ? { 'x-api-key': apiKey } : { authorization: `Bearer ${access.token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body }),
    timeoutMs: isBounded ? Math.min(operation.timeoutMs, leftMs) : operation.timeoutMs + (request.runMs ?? 0),
    ...(request.onEvent !== undefined && { onEvent: request.onEvent }),
    ...(request.overSocket && { overSocket: true }),
    fresh: operation.safety === 'create',
    ...((runsCode || operation.safety === 'read') && { signal: call.signal }),
  };
}
