import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { createHopxClient, type HopxClient } from '../../src/client/hopx-client.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import type { Safety } from '../../src/client/operations.ts';
import type { Call } from '../../src/contract/call.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { silentLog } from '../../src/log.ts';
import { newCall } from '../support/calls.ts';
import { type Reply, sandboxBody, startScriptedServer } from '../support/scripted-server.ts';

const refusal = (status: number, code: string, more: object = {}): Reply => ({
  status,
  body: { error: `refused: ${code}`, code, request_id: 'req_7', ...more },
});
const page = (status: number): Reply => ({ status, body: '<html><body>sorry</body></html>' });
const program = { success: false, stdout: 'a', stderr: 'b', exit_code: 1, execution_time: 0.1 };
const fifty = 'x'.repeat(50 * 1024 * 1024);

/** What the operation is, and where its signal is met. */
const operations: Record<Safety, { route: string; act(client: HopxClient, call: Call): Promise<unknown> }> = {
  read: { route: 'GET /v1/sandboxes', act: (client, call) => client.listSandboxes(call) },
  idempotent: {
    route: 'DELETE /v1/sandboxes/{id}',
    act: (client, call) => client.deleteSandbox('sbx1', call),
  },
  create: {
    route: 'POST /v1/sandboxes',
    act: (client, call) => client.createSandbox({ template_name: 'base', timeout_seconds: 600 }, call),
  },
  exec: {
    route: 'POST /execute',
    act: (client, call) => client.execute('sbx1', { code: '1', timeout: 1 }, call),
  },
};

/**
 * How it ends when the signal is met once and all is well after that: `again` is a second request that
 * succeeds, `once` one request that succeeds, anything else one request and this failure and outcome.
 */
type Ends = 'again' | 'once' | `${string}:${'not_performed' | 'performed' | 'unknown'}`;
type Row = { signal: string; reply: Reply } & Record<Safety, Ends>;

const all = (ends: Ends): Record<Safety, Ends> => ({
  read: ends,
  idempotent: ends,
  create: ends,
  exec: ends,
});
/** In doubt a read or an idempotent write is repeated; a create is looked for, and made again when it is not there. */
const doubt = (exec: Ends): Record<Safety, Ends> => ({
  read: 'again',
  idempotent: 'again',
  create: 'again',
  exec,
});

const rows: readonly Row[] = [
  { signal: 'reset before the status line', reply: { wire: 'reset' }, ...doubt('NETWORK_ERROR:unknown') },
  {
    signal: 'a body that breaks off',
    reply: { body: program, wire: 'cut' },
    ...doubt('INVALID_RESPONSE:performed'),
    idempotent: 'once',
  },
  {
    signal: 'a success that is HTML',
    reply: page(200),
    ...doubt('INVALID_RESPONSE:performed'),
    idempotent: 'once',
  },
  {
    signal: 'a success of 50 MB',
    reply: { body: { fifty } },
    ...doubt('INVALID_RESPONSE:performed'),
    idempotent: 'once',
  },
  {
    signal: 'a success that tells nothing',
    reply: { body: {} },
    ...doubt('INVALID_RESPONSE:performed'),
    idempotent: 'once',
  },
  {
    signal: 'a failing program told with 500',
    reply: { status: 500, body: program },
    ...doubt('NEVER:unknown'),
    exec: 'once',
  },
  {
    signal: 'a program out of time told with 408',
    reply: { status: 408, body: program },
    ...doubt('NEVER:unknown'),
    exec: 'once',
  },
  {
    signal: '408 EXECUTION_TIMEOUT',
    reply: refusal(408, 'EXECUTION_TIMEOUT'),
    ...all('EXECUTION_TIMEOUT:performed'),
  },
  { signal: '408 without a code', reply: page(408), ...doubt('REQUEST_TIMEOUT:unknown') },
  { signal: '400', reply: refusal(400, 'INVALID_REQUEST'), ...all('INVALID_REQUEST:not_performed') },
  { signal: '402', reply: refusal(402, 'PAYMENT_REQUIRED'), ...all('PAYMENT_REQUIRED:not_performed') },
  { signal: '403', reply: refusal(403, 'FORBIDDEN'), ...all('FORBIDDEN:not_performed') },
  {
    signal: '404',
    reply: refusal(404, 'RESOURCE_NOT_FOUND'),
    ...all('RESOURCE_NOT_FOUND:not_performed'),
    idempotent: 'once',
  },
  { signal: '409', reply: refusal(409, 'CONFLICT'), ...all('CONFLICT:not_performed') },
  {
    signal: '410',
    reply: refusal(410, 'SANDBOX_EXPIRED'),
    ...all('SANDBOX_EXPIRED:not_performed'),
    idempotent: 'once',
  },
  {
    signal: '401 INVALID_TOKEN',
    reply: refusal(401, 'INVALID_TOKEN'),
    ...all('INVALID_TOKEN:not_performed'),
    exec: 'again',
  },
  {
    signal: '401 AUTHENTICATION_REQUIRED',
    reply: refusal(401, 'AUTHENTICATION_REQUIRED'),
    ...all('AUTHENTICATION_REQUIRED:not_performed'),
    exec: 'again',
  },
  {
    signal: '429 for the rate',
    reply: refusal(429, 'RATE_LIMIT_EXCEEDED', { retry_after: 0.01 }),
    ...all('again'),
  },
  {
    signal: '429 with a header only',
    reply: { ...page(429), headers: { 'retry-after': '0' } },
    ...all('again'),
  },
  {
    signal: '429 with a wait of an hour',
    reply: refusal(429, 'RATE_LIMIT_EXCEEDED', { retry_after: 3_600 }),
    ...all('RATE_LIMIT_EXCEEDED:not_performed'),
  },
  {
    signal: '429 with an absurd wait',
    reply: refusal(429, 'RATE_LIMIT_EXCEEDED', { retry_after: 1e15 }),
    ...all('RATE_LIMIT_EXCEEDED:not_performed'),
  },
  {
    signal: '429 for the quota',
    reply: refusal(429, 'RESOURCE_LIMIT_ERROR'),
    ...all('RESOURCE_LIMIT_ERROR:not_performed'),
  },
  { signal: "503 in HopX's words", reply: refusal(503, 'SERVICE_UNAVAILABLE'), ...all('again') },
  {
    signal: '503 of an agent that starts',
    reply: { status: 503, body: { error: 'NOT_INITIALIZED', message: 'wait' } },
    ...all('again'),
  },
  { signal: "a proxy's 503", reply: page(503), ...doubt('SERVICE_UNAVAILABLE:unknown') },
  { signal: '502', reply: page(502), ...doubt('UPSTREAM_ERROR:unknown') },
  { signal: '504', reply: page(504), ...doubt('UPSTREAM_ERROR:unknown') },
  { signal: '500 INTERNAL_ERROR', reply: refusal(500, 'INTERNAL_ERROR'), ...doubt('INTERNAL_ERROR:unknown') },
  {
    signal: 'a nested 500',
    reply: { status: 500, body: { error: { code: 'INTERNAL_ERROR', message: 'oh' } } },
    ...doubt('INTERNAL_ERROR:unknown'),
  },
  {
    signal: 'a redirect to another host',
    reply: { status: 307, headers: { location: 'http://198.51.100.1/' } },
    ...all('INVALID_RESPONSE:unknown'),
  },
];

/** What the engine's rows say where a failure does not say it itself. */
async function endOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'success';
  } catch (error) {
    if (!(error instanceof SandboxFailure)) throw error;
    return `${error.code}:${error.facts.outcome ?? (await import('../../src/contract/failures.ts')).failures[error.code].outcome}`;
  }
}

describe('every signal × every class of operation, against a real server', () => {
  for (const row of rows) {
    for (const safety of ['read', 'idempotent', 'create', 'exec'] as const) {
      test(`${row.signal}, ${safety}: ${row[safety]}`, async () => {
        const { route, act } = operations[safety];
        const good: Record<Safety, (url: string) => Reply> = {
          read: () => ({ body: { data: [] } }),
          idempotent: () => ({ body: { status: 'deleted' } }),
          create: (url) => ({ status: 201, body: sandboxBody(url) }),
          exec: () => ({ body: { ...program, success: true, exit_code: 0 } }),
        };
        const server = await startScriptedServer((url) => ({
          'GET /v1/sandboxes': { body: { data: [] } },
          'GET /v1/sandboxes/{id}': { body: sandboxBody(url) },
          'POST /v1/sandboxes/{id}/token/refresh': { body: { auth_token: 'token-two' } },
          [route]: [row.reply, good[safety](url)],
        }));
        const client = createHopxClient({
          baseUrl: server.url,
          apiKey: 'hopx_live_test.key',
          rates: unlimitedRates,
          log: silentLog,
          sleep: (ms, signal) => delay(ms / 200, undefined, { signal }),
        });
        const end = await endOf(act(client, newCall({ budgetMs: 20_000 })));
        const requests = server.received(route).length;
        await client.close();
        await server.close();
        const expected = row[safety];
        const wanted: [string, number] =
          expected === 'again' ? ['success', 2] : expected === 'once' ? ['success', 1] : [expected, 1];
        expect([end, requests]).toEqual(wanted);
      });
    }
  }
});
