import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { executeReply, isResultBody } from '../../src/contract/hopx.ts';
import { type ScriptedEngine, startScriptedEngine, type TestSandbox } from './scripted-engine.ts';
import { type Script, withResolvers } from './scripted-launcher.ts';

/** What the code of a run makes of it. */
const script: Script = {
  async run({ code }, signal) {
    if (code === 'raise') return { exitCode: 1, stdout: 'so far', stderr: 'ValueError' };
    if (code === 'loop') return { exitCode: 124, endedBy: 'timeout', variablesLost: true };
    if (code === 'hang') {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return { exitCode: 130, endedBy: 'cancel' };
    }
    const truncated = [{ stream: 'stdout', totalChars: 9, fullOutputPath: '/tmp/out' } as const];
    return { stdout: code, result: '42', json: { a: 1 }, truncated };
  },
};

let engine: ScriptedEngine;
let mine: TestSandbox;

beforeAll(async () => {
  engine = await startScriptedEngine(script);
});
afterAll(() => engine.stop());

beforeEach(async () => {
  mine = await engine.api.createSandbox({
    timeout_seconds: 60,
    env_vars: { CREATED: 'yes', API_KEY: 'hidden' },
  });
  return () => engine.api.call(`DELETE /v1/sandboxes/${mine.id}`);
});

/** Calls a route of the sandbox's own host. */
function call(route: string, json?: unknown, signal?: AbortSignal) {
  const request = { token: mine.token, json, ...(signal !== undefined && { signal }) };
  return engine.api.call(route.replace(' ', ` ${mine.host}`), request);
}

describe('execute', () => {
  const named = (language: string, ...names: readonly string[]) =>
    names.map((name) => [`language ${name}`, { language: name }, { language }] as const);

  const requests: readonly (readonly [says: string, request: object, run: object])[] = [
    ['nothing else', {}, { language: 'python', timeoutMs: 60_000 }],
    ['null for absent', { language: null, timeout: null }, { language: 'python', timeoutMs: 60_000 }],
    ...named('python', 'python', 'python3', 'Python'),
    ...named('javascript', 'javascript', 'js', 'node', 'nodejs'),
    ...named('bash', 'bash', 'sh', 'shell'),
    ['a broken timeout', { timeout: 1.5 }, { timeoutMs: 1500 }],
    ['the longest timeout', { timeout: 300 }, { timeoutMs: 300_000 }],
    ['workdir', { workdir: '/tmp' }, { workdir: '/tmp' }],
    ['working_dir', { working_dir: '/tmp' }, { workdir: '/tmp' }],
    ['both', { workdir: '/tmp/a', working_dir: '/tmp/b' }, { workdir: '/tmp/a' }],
    ['env', { env: { CREATED: 'no', B: '2' } }, { env: { CREATED: 'no', API_KEY: 'hidden', B: '2' } }],
  ];
  test.each(requests)('with %s', async (_says, request, run) => {
    expect(await call('POST /execute', { code: 'c', ...request })).toMatchObject({ status: 200 });
    expect(engine.sandbox(mine.id).runs).toMatchObject([{ code: 'c', ...run }]);
  });

  test('finds the sandbox by its token alone', async () => {
    await engine.api.call('POST /execute', { token: mine.token, json: { code: 'c' } });
    expect(engine.sandbox(mine.id).runs).toHaveLength(1);
  });

  test.each([
    ['live', 'c', 200, { success: true, stdout: 'c', exit_code: 0, result: '42', json: { a: 1 } }],
    ['documented', 'c', 200, { success: true, stdout: 'c', exit_code: 0 }],
    ['live', 'raise', 200, { success: false, stdout: 'so far', stderr: 'ValueError', exit_code: 1 }],
    ['documented', 'raise', 500, { success: false, stdout: 'so far', stderr: 'ValueError', exit_code: 1 }],
    ['live', 'loop', 200, { success: false, exit_code: 124, ended_by: 'timeout', variables_lost: true }],
    ['documented', 'loop', 408, { code: 'EXECUTION_TIMEOUT', error: 'Execution timeout after 2.5 seconds' }],
  ] as const)('in style %s answers code %s with %i', async (errors, code, status, body) => {
    const { api, stop } = await startScriptedEngine(script, { errors });
    const { token, host } = await api.createSandbox();
    const reply = await api.call(`POST ${host}/execute`, { token, json: { code, timeout: 2.5 } });
    expect(reply).toMatchObject({ status, body: { execution_time: 0.005, language: 'python', ...body } });
    expect(isResultBody(reply.body)).toBe(true);
    expect(executeReply.safeParse(reply.body).success).toBe(true);
    expect('code' in reply.body).toBe(status === 408);
    await stop();
  });

  test('says what was cut, and where all of it is', async () => {
    const { body } = await call('POST /execute', { code: 'c' });
    expect(body['truncated']).toEqual([{ stream: 'stdout', total_chars: 9, full_output_path: '/tmp/out' }]);
  });

  test('stops the run whose caller goes away', async () => {
    const caller = new AbortController();
    const cancelled = withResolvers<void>();
    const { api, stop } = await startScriptedEngine({
      async run(_request, signal) {
        signal.addEventListener('abort', () => cancelled.resolve());
        caller.abort();
        await cancelled.promise;
        return { exitCode: 130, endedBy: 'cancel' };
      },
    });
    const { token, host } = await api.createSandbox();
    const request = api.call(`POST ${host}/execute`, { token, json: { code: 'c' }, signal: caller.signal });
    await expect(request).rejects.toThrow('aborted');
    await cancelled.promise;
    await stop();
  });

  test.each([
    ['is deleted', () => engine.api.call(`DELETE /v1/sandboxes/${mine.id}`), 'Gone: destroyed.'],
    [
      'expires',
      () => engine.clock.advance(60_000),
      'The sandbox reached the end of its timeout during the run',
    ],
    ['runs out of memory', () => engine.sandbox(mine.id).crash('memory'), 'Gone: memory.'],
  ])('of a sandbox that %s during the run never says that nothing was done', async (_says, end, error) => {
    const run = call('POST /execute', { code: 'hang' });
    await expect.poll(() => engine.sandbox(mine.id).runs.length).toBe(1);
    await end();
    expect(await run).toMatchObject({ status: 500, body: { code: 'INTERNAL_ERROR', error } });
  });
});

describe('env', () => {
  const seen = { CREATED: 'yes', API_KEY: '***MASKED***' };

  test.each([
    ['GET /env', undefined, seen],
    ['PATCH /env', { env_vars: { B: '2', CREATED: 'no' }, merge: true }, { ...seen, B: '2', CREATED: 'no' }],
    [
      'PUT /env',
      { env_vars: { B: '2', db_password: 'x', MyToken: 'y' } },
      { B: '2', db_password: '***MASKED***', MyToken: '***MASKED***' },
    ],
    ['DELETE /env', undefined, {}],
  ])('%s', async (route, json, vars) => {
    const count = Object.keys(vars).length;
    const timestamp = new Date(engine.clock.now()).toISOString();
    const reply = await call(route, json);
    expect(reply).toMatchObject({ status: 200, body: { count, timestamp } });
    expect(reply.body['env_vars']).toEqual(vars);
    expect((await call('GET /env')).body['env_vars']).toEqual(vars);
  });

  test('a run gets the values themselves', async () => {
    await call('PATCH /env', { env_vars: { MY_SECRET: 's', CREATED: 'later' } });
    await call('POST /execute', { code: 'c' });
    expect(engine.sandbox(mine.id).runs[0]?.env).toEqual({
      CREATED: 'later',
      API_KEY: 'hidden',
      MY_SECRET: 's',
    });
  });
});

describe('files', () => {
  test.each([
    ['text', { content: 'grüß' }, 'grüß', 6],
    ['base64', { content: 'aGFs\nbG8=', encoding: 'base64' }, 'hallo', 5],
  ])('write %s, and read it', async (_says, json, content, size) => {
    const path = '/workspace/a';
    const written = await call('POST /files/write', { path, ...json });
    expect(written).toMatchObject({ status: 200, body: { path, size, success: true } });
    expect(await call(`GET /files/read?path=${encodeURIComponent(path)}`)).toMatchObject({
      status: 200,
      body: { path, content, size },
    });
  });
});

test('health and ping need no token', async () => {
  const bare = (path: string) => engine.api.call(`GET ${mine.host}${path}`, { key: null });
  const features = { languages: ['python', 'javascript', 'bash'] };
  expect(await bare('/health')).toMatchObject({
    status: 200,
    body: { status: 'healthy', vm_id: mine.id, features },
  });
  expect(await bare('/ping')).toMatchObject({ status: 200, body: { message: 'pong' } });
});
