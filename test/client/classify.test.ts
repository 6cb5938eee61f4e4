import { describe, expect, test } from 'vitest';
import { classify, type Verdict } from '../../src/client/classify.ts';
import { type Operation, operations, type Safety } from '../../src/client/operations.ts';
import type { Broken, Reply } from '../../src/client/transport.ts';

const operationOf: Record<Safety, Operation> = {
  read: operations.getSandbox,
  idempotent: operations.deleteSandbox,
  create: operations.createSandbox,
  exec: operations.execute,
};

const reply = (status: number, body?: unknown, headers: Record<string, string> = {}): Reply => ({
  kind: 'reply',
  status,
  headers,
  body,
  cut: false,
  elapsedMs: 1,
});
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

type Row = { signal: string; reply: Reply | Broken } & Record<Safety, string>;
const all = (says: string) => ({ read: says, idempotent: says, create: says, exec: says });
const inDoubt = (again: string, unknown: string) => ({
  read: again,
  idempotent: again,
  create: unknown,
  exec: unknown,
});

// What cannot be played on a loopback server; the rest of the table is decision-table.test.ts.
const table: readonly Row[] = [
  { signal: 'the name does not resolve', reply: broken('ENOTFOUND', false), ...all('again:not_sent') },
  { signal: 'the connection is refused', reply: broken('ECONNREFUSED', false), ...all('again:not_sent') },
  { signal: 'no route', reply: broken('EHOSTUNREACH', false), ...all('again:not_sent') },
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
    signal: 'no status line in time',
    reply: broken('UND_ERR_HEADERS_TIMEOUT', true),
    ...inDoubt('again:fault', 'unknown:REQUEST_TIMEOUT:unknown'),
  },
  { signal: '204 without a body', reply: reply(204), ...all('result') },
  { signal: '200 with success false', reply: reply(200, { ...program, success: false }), ...all('result') },
  { signal: '418 of no known meaning', reply: reply(418), ...all('fail:UPSTREAM_ERROR') },
  {
    signal: '403 by another name',
    reply: reply(403, refused('PATH_NOT_ALLOWED')),
    ...all('fail:FORBIDDEN'),
  },
  { signal: '429 that says nothing', reply: reply(429), ...all('again:rate') },
  {
    signal: '429 whose text tells a quota',
    reply: reply(429, refused('TOO_MANY', 'Sandbox limit reached (10/10)')),
    ...all('fail:RESOURCE_LIMIT_ERROR'),
  },
  {
    signal: '403 for the quota, as the Python SDK knows it',
    reply: reply(403, { error: 'Sandbox limit reached (3/3)' }),
    ...all('fail:RESOURCE_LIMIT_ERROR'),
  },
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
  const verdict = classify(operations.getSandbox, reply(404, refused('NO_SUCH_THING', 'gone')), Date.now());
  expect(verdict.kind === 'fail' && verdict.failure.facts).toMatchObject({
    endpoint: 'GET /v1/sandboxes/{id}',
    httpStatus: 404,
    requestId: 'req_1',
    upstreamCode: 'NO_SUCH_THING',
    upstreamText: 'gone',
  });
});
