import { describe, expect, test } from 'vitest';
import { classify, type Verdict } from '../../src/client/classify.ts';
import { type Operation, operations, type Safety } from '../../src/client/operations.ts';
import type { Answer, Broken } from '../../src/client/transport.ts';

const operationOf: Record<Safety, Operation> = {
  read: operations.getSandbox,
  idempotent: operations.deleteSandbox,
  create: operations.createSandbox,
  exec: operations.execute,
};

const answer = (status: number, body?: unknown, headers: Record<string, string> = {}): Answer => ({
  kind: 'answer',
  status,
  headers,
  body,
  cut: false,
  elapsedMs: 1,
});
const cut = (status: number): Answer => ({ ...answer(status), cut: true });
const broken = (errorCode: string, sent: boolean): Broken => ({
  kind: 'broken',
  sent,
  errorCode,
  message: errorCode,
  elapsedMs: 1,
});
const refused = (code: string, error = 'no') => ({ error, code, request_id: 'req_1' });
const program = { stdout: 'a', stderr: 'b', exit_code: 1 };

/** `result`, `again:<why>`, or `<kind>:<CODE>:<outcome>`. */
function inWords(verdict: Verdict): string {
  if (verdict.kind === 'result') return 'result';
  if (verdict.kind === 'again') return `again:${verdict.why}`;
  const { code, facts } = verdict.failure;
  return `${verdict.kind}:${code}${facts.outcome === undefined ? '' : `:${facts.outcome}`}`;
}

type Row = { signal: string; reply: Answer | Broken } & Record<Safety, string>;
const all = (says: string) => ({ read: says, idempotent: says, create: says, exec: says });
const inDoubt = (again: string, unknown: string) => ({
  read: again,
  idempotent: again,
  create: unknown,
  exec: unknown,
});

// Columns: what one attempt met, and what that means for each class of operation.
const table: readonly Row[] = [
  { signal: 'the name does not resolve', reply: broken('ENOTFOUND', false), ...all('again:not_sent') },
  { signal: 'the connection is refused', reply: broken('ECONNREFUSED', false), ...all('again:not_sent') },
  {
    signal: 'connecting takes too long',
    reply: broken('UND_ERR_CONNECT_TIMEOUT', false),
    ...all('again:not_sent'),
  },
  {
    signal: 'a bad certificate',
    reply: broken('CERT_HAS_EXPIRED', false),
    ...all('fail:NETWORK_ERROR:not_performed'),
  },
  {
    signal: 'reset after it was sent',
    reply: broken('ECONNRESET', true),
    ...inDoubt('again:fault', 'unknown:NETWORK_ERROR:unknown'),
  },
  {
    signal: 'no status line in time',
    reply: broken('UND_ERR_HEADERS_TIMEOUT', true),
    ...inDoubt('again:fault', 'unknown:REQUEST_TIMEOUT:unknown'),
  },
  {
    signal: 'a success whose body is cut',
    reply: cut(200),
    read: 'again:fault',
    idempotent: 'result',
    create: 'unknown:INVALID_RESPONSE:unknown',
    exec: 'fail:INVALID_RESPONSE:performed',
  },
  {
    signal: 'a success that is HTML',
    reply: answer(200),
    read: 'again:fault',
    idempotent: 'result',
    create: 'unknown:INVALID_RESPONSE:unknown',
    exec: 'fail:INVALID_RESPONSE:performed',
  },
  { signal: '204 without a body', reply: answer(204), ...all('result') },
  { signal: '200 with success false', reply: answer(200, { ...program, success: false }), ...all('result') },
  {
    signal: '500 with the output of a program',
    reply: answer(500, program),
    ...inDoubt('again:fault', 'unknown:INTERNAL_ERROR:unknown'),
    exec: 'result',
  },
  {
    signal: '408 with the output of a program',
    reply: answer(408, { ...program, code: 'EXECUTION_TIMEOUT' }),
    ...all('fail:EXECUTION_TIMEOUT'),
    exec: 'result',
  },
  {
    signal: '408 EXECUTION_TIMEOUT',
    reply: answer(408, refused('EXECUTION_TIMEOUT')),
    ...all('fail:EXECUTION_TIMEOUT'),
  },
  {
    signal: '408 without a code',
    reply: answer(408),
    ...inDoubt('again:fault', 'unknown:REQUEST_TIMEOUT:unknown'),
  },
  { signal: '400', reply: answer(400, refused('INVALID_REQUEST')), ...all('fail:INVALID_REQUEST') },
  { signal: '402', reply: answer(402, refused('PAYMENT_REQUIRED')), ...all('fail:PAYMENT_REQUIRED') },
  { signal: '403', reply: answer(403, refused('PATH_NOT_ALLOWED')), ...all('fail:FORBIDDEN') },
  { signal: '404', reply: answer(404, refused('SANDBOX_NOT_FOUND')), ...all('fail:RESOURCE_NOT_FOUND') },
  { signal: '404 without a body', reply: answer(404), ...all('fail:RESOURCE_NOT_FOUND') },
  { signal: '409', reply: answer(409, refused('CONFLICT')), ...all('fail:CONFLICT') },
  { signal: '410', reply: answer(410, refused('SANDBOX_EXPIRED')), ...all('fail:SANDBOX_EXPIRED') },
  { signal: '418 of no known meaning', reply: answer(418), ...all('fail:UPSTREAM_ERROR') },
  {
    signal: '401 INVALID_TOKEN',
    reply: answer(401, refused('INVALID_TOKEN')),
    ...all('fail:INVALID_TOKEN'),
    exec: 'again:auth',
  },
  {
    signal: '401 without a code',
    reply: answer(401),
    ...all('fail:AUTHENTICATION_REQUIRED'),
    exec: 'again:auth',
  },
  {
    signal: '429 for the rate',
    reply: answer(429, { ...refused('RATE_LIMIT_EXCEEDED'), retry_after: 3 }),
    ...all('again:rate'),
  },
  { signal: '429 that says nothing', reply: answer(429), ...all('again:rate') },
  {
    signal: '429 for the quota',
    reply: answer(429, refused('RESOURCE_LIMIT_ERROR', 'Sandbox limit reached (10/10)')),
    ...all('fail:RESOURCE_LIMIT_ERROR'),
  },
  {
    signal: '403 for the quota, as the Python SDK knows it',
    reply: answer(403, { error: 'Sandbox limit reached (3/3)' }),
    ...all('fail:RESOURCE_LIMIT_ERROR'),
  },
  {
    signal: "503 in HopX's own words",
    reply: answer(503, refused('SERVICE_UNAVAILABLE')),
    ...all('again:fault'),
  },
  {
    signal: '503 of an agent that is still starting',
    reply: answer(503, { error: 'NOT_INITIALIZED', message: 'JWT authentication not yet initialized' }),
    ...all('again:fault'),
  },
  {
    signal: "503 that is a proxy's page",
    reply: answer(503),
    ...inDoubt('again:fault', 'unknown:SERVICE_UNAVAILABLE:unknown'),
  },
  { signal: '502', reply: answer(502), ...inDoubt('again:fault', 'unknown:UPSTREAM_ERROR:unknown') },
  { signal: '504', reply: answer(504), ...inDoubt('again:fault', 'unknown:UPSTREAM_ERROR:unknown') },
  {
    signal: '500 INTERNAL_ERROR',
    reply: answer(500, refused('INTERNAL_ERROR')),
    ...inDoubt('again:fault', 'unknown:INTERNAL_ERROR:unknown'),
  },
  { signal: 'a redirect', reply: answer(302), ...all('fail:INVALID_RESPONSE') },
];

describe('the decision table', () => {
  for (const row of table) {
    for (const safety of ['read', 'idempotent', 'create', 'exec'] as const) {
      test(`${row.signal}, ${safety}: ${row[safety]}`, () => {
        expect(inWords(classify(operationOf[safety], row.reply, Date.now()))).toBe(row[safety]);
      });
    }
  }
});

test('what a failure is known by is kept: status, request id, endpoint, the name that upstream gave', () => {
  const verdict = classify(operations.getSandbox, answer(404, refused('NO_SUCH_THING', 'gone')), Date.now());
  expect(verdict.kind === 'fail' && verdict.failure.facts).toMatchObject({
    endpoint: 'GET /v1/sandboxes/{id}',
    httpStatus: 404,
    requestId: 'req_1',
    upstreamCode: 'NO_SUCH_THING',
    upstreamText: 'gone',
  });
});
