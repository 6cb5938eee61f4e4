import { afterEach, describe, expect, test } from 'vitest';
import { createHopxClient, type HopxClient } from '../../src/client/hopx-client.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { silentLog } from '../../src/log.ts';
import { newCall } from '../support/calls.ts';
import {
  closedPort,
  type Reply,
  type Script,
  type ScriptedServer,
  sandboxBody,
  startScriptedServer,
} from '../support/scripted-server.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

const ran = { success: true, stdout: 'hi\n', stderr: '', exit_code: 0, execution_time: 0.1 };
const failed = { success: false, stdout: '', stderr: 'NameError\n', exit_code: 1, execution_time: 0.1 };
const refusal = (status: number, code: string, more = {}): Reply => ({
  status,
  body: { error: `refused: ${code}`, code, request_id: 'req_7', ...more },
});

async function setUp(script: Script): Promise<{ client: HopxClient; server: ScriptedServer }> {
  const server = await startScriptedServer((url) => ({
    'GET /v1/sandboxes/{id}': { body: sandboxBody(url) },
    'POST /v1/sandboxes': { status: 201, body: sandboxBody(url) },
    'POST /v1/sandboxes/{id}/token/refresh': {
      body: { auth_token: 'token-two', token_expires_at: '2999-01-01T00:00:00Z' },
    },
    ...script,
  }));
  const client = createHopxClient({ baseUrl: server.url, apiKey: 'hopx_live_test.key', log: silentLog });
  closers.push(() => client.close(), server.close);
  return { client, server };
}

async function failureOf(promise: Promise<unknown>): Promise<SandboxFailure> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof SandboxFailure) return error;
  throw new Error(`expected a SandboxFailure, got ${String(error)}`);
}

describe('execute', () => {
  type Row = { says: string; replies: Reply[]; requests: number; result?: object; failure?: object };
  const rows: Row[] = [
    { says: 'a run that ends well', replies: [{ body: ran }], requests: 1, result: { stdout: 'hi\n' } },
    {
      says: 'a failing program told with 200',
      replies: [{ body: failed }],
      requests: 1,
      result: { exit_code: 1 },
    },
    {
      says: 'a failing program told with 500 is a result, and is not run again',
      replies: [{ status: 500, body: failed }],
      requests: 1,
      result: { exit_code: 1, stderr: 'NameError\n' },
    },
    {
      says: 'a rate limit is waited out',
      replies: [refusal(429, 'RATE_LIMIT_EXCEEDED', { retry_after: 0.05 }), { body: ran }],
      requests: 2,
      result: { exit_code: 0 },
    },
    {
      says: "a 503 in HopX's words is waited out",
      replies: [refusal(503, 'SERVICE_UNAVAILABLE'), { body: ran }],
      requests: 2,
      result: { exit_code: 0 },
    },
    {
      says: 'a refused token is renewed once',
      replies: [refusal(401, 'INVALID_TOKEN'), { body: ran }],
      requests: 2,
      result: { exit_code: 0 },
    },
    {
      says: 'a token refused twice is a failure',
      replies: [refusal(401, 'INVALID_TOKEN')],
      requests: 2,
      failure: { code: 'INVALID_TOKEN' },
    },
    {
      says: 'an internal error leaves the outcome unknown',
      replies: [refusal(500, 'INTERNAL_ERROR')],
      requests: 1,
      failure: { code: 'INTERNAL_ERROR', facts: { outcome: 'unknown', requestId: 'req_7', httpStatus: 500 } },
    },
    {
      says: "a proxy's 503 leaves the outcome unknown",
      replies: [{ status: 503, body: '<html>busy</html>' }],
      requests: 1,
      failure: { code: 'SERVICE_UNAVAILABLE', facts: { outcome: 'unknown' } },
    },
    {
      says: 'a lost answer leaves the outcome unknown',
      replies: [{ wire: 'reset' }],
      requests: 1,
      failure: { code: 'NETWORK_ERROR', facts: { outcome: 'unknown' } },
    },
    {
      says: 'a cut answer: it ran, and its output is lost',
      replies: [{ body: ran, wire: 'cut' }],
      requests: 1,
      failure: { code: 'INVALID_RESPONSE', facts: { outcome: 'performed' } },
    },
    {
      says: 'a wait longer than the call is reported, not slept',
      replies: [refusal(429, 'RATE_LIMIT_EXCEEDED', { retry_after: 3600 })],
      requests: 1,
      failure: { code: 'RATE_LIMIT_EXCEEDED', facts: { retryAfterSeconds: 3600 } },
    },
    {
      says: 'a used-up quota is not waited for',
      replies: [refusal(429, 'RESOURCE_LIMIT_ERROR')],
      requests: 1,
      failure: { code: 'RESOURCE_LIMIT_ERROR' },
    },
  ];
  for (const { says, replies, requests, result, failure } of rows) {
    test(says, async () => {
      const { client, server } = await setUp({ 'POST /execute': replies });
      const running = client.execute(
        'sbx1',
        { code: 'print("hi")', timeout: 5 },
        newCall({ budgetMs: 5_000 }),
      );
      if (result !== undefined) expect((await running).reply).toMatchObject(result);
      if (failure !== undefined) expect(await failureOf(running)).toMatchObject(failure);
      expect(server.received('POST /execute')).toHaveLength(requests);
    });
  }

  test('is one request on a warm connection once the sandbox is known', async () => {
    const { client, server } = await setUp({ 'POST /execute': { body: ran } });
    const { id } = await client.createSandbox(
      { template_name: 'code-interpreter', timeout_seconds: 300 },
      newCall(),
    );
    await client.execute(id, { code: '1' }, newCall());
    const before = server.requests.length;
    for (const code of ['2', '3', '4']) await client.execute(id, { code }, newCall());
    const after = server.requests.slice(before);
    expect(after.map(({ path }) => path)).toEqual([
      '/vms/sbx1/execute',
      '/vms/sbx1/execute',
      '/vms/sbx1/execute',
    ]);
    expect(new Set(after.map(({ connection }) => connection)).size).toBe(1);
  });

  test('sends the token to the agent and the key to the control plane, and never the other way round', async () => {
    const { client, server } = await setUp({ 'POST /execute': { body: ran } });
    await client.execute('sbx1', { code: '1' }, newCall());
    for (const { path, headers } of server.requests) {
      const isAgent = path.startsWith('/vms/');
      expect([headers['x-api-key'], headers.authorization]).toEqual(
        isAgent ? [undefined, 'Bearer token-one'] : ['hopx_live_test.key', undefined],
      );
    }
  });

  test('many calls at once share one look-up and one renewal', async () => {
    const { client, server } = await setUp({
      'GET /v1/sandboxes/{id}': (_request) => ({ body: sandboxBody(server.url, { auth_token: undefined }) }),
      'POST /execute': { body: ran },
    });
    await Promise.all(Array.from({ length: 20 }, () => client.execute('sbx1', { code: '1' }, newCall())));
    expect(server.received('GET /v1/sandboxes/{id}')).toHaveLength(1);
    expect(server.received('POST /v1/sandboxes/{id}/token/refresh')).toHaveLength(1);
    expect(server.received('POST /execute')).toHaveLength(20);
  });

  test('a host that is not the API’s gets no token and no request', async () => {
    const { client, server } = await setUp({
      'GET /v1/sandboxes/{id}': { body: sandboxBody('http://198.51.100.7') },
      'POST /execute': { body: ran },
    });
    expect(await failureOf(client.execute('sbx1', { code: '1' }, newCall()))).toMatchObject({
      code: 'UNTRUSTED_HOST',
    });
    expect(server.received('POST /execute')).toHaveLength(0);
  });

  test('a cancelled run ends at once with the outcome unknown', async () => {
    const { client, server } = await setUp({ 'POST /execute': { wire: 'hang' } });
    const abort = new AbortController();
    const running = failureOf(client.execute('sbx1', { code: '1' }, newCall({ signal: abort.signal })));
    while (server.received('POST /execute').length === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort();
    expect(await running).toMatchObject({ code: 'CANCELLED', facts: { outcome: 'unknown' } });
  });
});

describe('the control plane', () => {
  test('an API that is not there is a network error after five tries, and nothing was done', async () => {
    const port = await closedPort();
    const client = createHopxClient({
      baseUrl: `http://127.0.0.1:${port}`,
      apiKey: 'hopx_live_test.key',
      log: silentLog,
    });
    closers.push(() => client.close());
    const call = newCall({ budgetMs: 20_000 });
    expect(
      await failureOf(client.createSandbox({ template_name: 't', timeout_seconds: 300 }, call)),
    ).toMatchObject({
      code: 'NETWORK_ERROR',
      facts: { outcome: 'not_performed' },
    });
    expect(call.stats.attempts).toBe(5);
  });

  const deletions: { says: string; replies: Reply[]; alreadyGone: boolean }[] = [
    { says: 'a deleted sandbox', replies: [{ body: { status: 'deleted' } }], alreadyGone: false },
    { says: 'a sandbox that is gone', replies: [refusal(404, 'RESOURCE_NOT_FOUND')], alreadyGone: true },
    { says: 'a sandbox that expired', replies: [refusal(410, 'SANDBOX_EXPIRED')], alreadyGone: true },
    {
      says: 'gone after a lost answer: our own first request did it',
      replies: [{ wire: 'reset' }, refusal(404, 'RESOURCE_NOT_FOUND')],
      alreadyGone: false,
    },
  ];
  for (const { says, replies, alreadyGone } of deletions) {
    test(`deleting ${says} succeeds`, async () => {
      const { client } = await setUp({ 'DELETE /v1/sandboxes/{id}': replies });
      expect(await client.deleteSandbox('sbx1', newCall())).toEqual({ alreadyGone });
    });
  }

  test('a create that nobody waits for any more is finished and deleted', async () => {
    let arrived = () => {};
    const wanted = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { client, server } = await setUp({
      'POST /v1/sandboxes': async () => {
        arrived();
        await held;
        return { status: 201, body: sandboxBody('http://127.0.0.1:1') };
      },
      'DELETE /v1/sandboxes/{id}': { body: { status: 'deleted' } },
    });
    const abort = new AbortController();
    const creating = failureOf(
      client.createSandbox({ template_name: 't', timeout_seconds: 300 }, newCall({ signal: abort.signal })),
    );
    await wanted;
    abort.abort();
    expect(await creating).toMatchObject({ code: 'CANCELLED' });
    release();
    while (server.received('DELETE /v1/sandboxes/{id}').length === 0)
      await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test('a list follows its cursors, survives nulls, and stops when a server pages for ever', async () => {
    const { client, server } = await setUp({
      'GET /v1/sandboxes': [
        {
          body: {
            data: [sandboxBody('http://127.0.0.1:1', { id: 'a' }), null],
            has_more: true,
            next_cursor: 'c1',
          },
        },
        { body: { data: null, has_more: true, next_cursor: 'c2' } },
        {
          body: { data: [sandboxBody('http://127.0.0.1:1', { id: 'b' })], has_more: true, next_cursor: 'c2' },
        },
      ],
    });
    expect((await client.listSandboxes(newCall())).map(({ id }) => id)).toEqual(['a', 'b']);
    expect(server.received('GET /v1/sandboxes')).toHaveLength(3);
  });
});

describe('a create', () => {
  test('whose API never answers is answered inside the call’s budget, and deleted when it comes', async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { client, server } = await setUp({
      'POST /v1/sandboxes': async () => {
        await held;
        return { status: 201, body: sandboxBody('http://127.0.0.1:1') };
      },
      'DELETE /v1/sandboxes/{id}': { body: { status: 'deleted' } },
    });
    const startedMs = performance.now();
    const creating = failureOf(
      client.createSandbox({ template_name: 't', timeout_seconds: 300 }, newCall({ budgetMs: 300 })),
    );
    expect(await creating).toMatchObject({
      code: 'REQUEST_TIMEOUT',
      facts: { outcome: 'unknown', retryable: true },
    });
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    release();
    await expect.poll(() => server.received('DELETE /v1/sandboxes/{id}').length).toBe(1);
  });

  test('that hits the quota while a deletion is under way waits for it and goes through', async () => {
    const { client } = await setUp({
      'POST /v1/sandboxes': (_request, nth) =>
        nth === 0
          ? refusal(429, 'RESOURCE_LIMIT_ERROR')
          : { status: 201, body: sandboxBody('http://127.0.0.1:1') },
      'DELETE /v1/sandboxes/{id}': async () => {
        await new Promise((resolve) => setTimeout(resolve, 100));
        return { body: { status: 'deleted' } };
      },
    });
    const deleting = client.deleteSandbox('old', newCall());
    expect(await client.createSandbox({ template_name: 't', timeout_seconds: 300 }, newCall())).toMatchObject(
      { id: 'sbx1' },
    );
    await deleting;
  });

  test('that ends in a state that never runs is deleted and told', async () => {
    const { client, server } = await setUp({
      'POST /v1/sandboxes': { status: 201, body: sandboxBody('http://127.0.0.1:1', { status: 'failed' }) },
      'DELETE /v1/sandboxes/{id}': { body: { status: 'deleted' } },
    });
    expect(
      await failureOf(client.createSandbox({ template_name: 't', timeout_seconds: 300 }, newCall())),
    ).toMatchObject({
      code: 'SERVICE_UNAVAILABLE',
    });
    expect(server.received('DELETE /v1/sandboxes/{id}')).toHaveLength(1);
  });
});

test('bodies that wait are bounded together: a flood is refused, what waits goes through', async () => {
  const { client, server } = await setUp({
    'POST /execute': (_request, nth) =>
      nth === 0 ? refusal(429, 'RATE_LIMIT_EXCEEDED', { retry_after: 0.5 }) : { body: ran },
  });
  await client.createSandbox({ template_name: 't', timeout_seconds: 300 }, newCall());
  const code = 'x'.repeat(1024 * 1024);
  const ends = await Promise.allSettled(
    Array.from({ length: 30 }, () => client.execute('sbx1', { code }, newCall())),
  );
  const refused = ends.filter((end) => end.status === 'rejected').map((end) => end.reason.code);
  expect(new Set(refused)).toEqual(new Set(['QUEUE_FULL']));
  expect(ends.length - refused.length).toBeGreaterThanOrEqual(8);
  expect(server.received('POST /execute').length).toBe(ends.length - refused.length + 1);
});
