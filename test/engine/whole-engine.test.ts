import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Engine, startEngine } from '../../src/engine/engine.ts';
import { silentLog } from '../../src/log.ts';
import { newMark, processesWith } from '../support/built-server.ts';
import { countOf } from '../support/guest-processes.ts';
import { apiClient } from './api-client.ts';
import type { TestSandbox } from './scripted-engine.ts';

let engine: Engine;
let api: ReturnType<typeof apiClient>;
let mine: TestSandbox;

beforeAll(async () => {
  engine = await startEngine({ listen: { kind: 'socket' }, log: silentLog });
  api = apiClient(engine);
});
afterAll(async () => {
  await api.close();
  await engine.close();
});

beforeEach(async () => {
  mine = await api.createSandbox({ timeout_seconds: 600, env_vars: { LEVEL: 'create', API_KEY: 'k' } });
  return () => api.call(`DELETE /v1/sandboxes/${mine.id}`);
});

function call(route: string, json?: unknown, signal?: AbortSignal) {
  const request = { token: mine.token, json, ...(signal !== undefined && { signal }) };
  return api.call(route.replace(' ', ` ${mine.host}`), request);
}

async function execute(json: Record<string, unknown>) {
  const { status, body } = await call('POST /execute', json);
  expect(status).toBe(200);
  return body;
}

test('when a delete is answered, no process of the sandbox is left', async () => {
  const mark = newMark();
  await execute({ language: 'bash', code: `sleep ${mark} & setsid sleep ${mark} & sleep ${mark} &` });
  await expect.poll(() => processesWith(mark)).toHaveLength(3);
  await api.call(`DELETE /v1/sandboxes/${mine.id}`);
  expect(processesWith(mark)).toEqual([]);
});

describe('execute', () => {
  test('keeps Python variables, and answers the last expression', async () => {
    await execute({ code: 'x = 41' });
    expect(await execute({ code: 'x + 1' })).toMatchObject({ success: true, exit_code: 0, result: '42' });
  });

  test.each([
    ['javascript', 'console.log(6 * 7)'],
    ['bash', 'echo $((6 * 7))'],
    ['python', 'print(6 * 7)'],
  ])('runs %s', async (language, code) => {
    expect(await execute({ language, code })).toMatchObject({
      success: true,
      stdout: '42\n',
      stderr: '',
      language,
    });
  });

  test('a program that fails is 200 with success:false and its traceback', async () => {
    const body = await execute({ code: 'print("before")\n1/0' });
    expect(body).toMatchObject({ success: false, stdout: 'before\n', exit_code: 1 });
    expect(body['stderr']).toContain('ZeroDivisionError');
  });

  test('a program that takes too long is ended; its variables survive', async () => {
    await execute({ code: 'x = 1' });
    const body = await execute({ code: 'print("on", flush=True)\nwhile True: pass', timeout: 1 });
    expect(body).toMatchObject({
      success: false,
      stdout: 'on\n',
      ended_by: 'timeout',
      variables_lost: false,
    });
    expect(body['execution_time']).toBeLessThan(3);
    expect(await execute({ code: 'x' })).toMatchObject({ result: '1' });
  });

  test('a program whose caller goes away is ended, and the sandbox goes on', async () => {
    const caller = new AbortController();
    const abandoned = call(
      'POST /execute',
      { language: 'bash', code: 'touch on; sleep 60 & wait' },
      caller.signal,
    );
    const count = async () =>
      (await execute({ language: 'bash', code: `ls on; ${countOf('sleep')}` }))['stdout'];
    await expect.poll(count).toBe('on\n1\n');
    caller.abort();
    await expect(abandoned).rejects.toThrow('aborted');
    await expect.poll(count).toBe('on\n0\n');
  });

  test('a working directory that is not there is an INVALID_REQUEST', async () => {
    const reply = await call('POST /execute', { language: 'bash', code: 'pwd', workdir: '/workspace/none' });
    expect(reply).toMatchObject({ status: 400, body: { code: 'INVALID_REQUEST' } });
  });

  test.each(['python', 'bash', 'javascript'])('%s sees request over /env over create', async (language) => {
    const code = {
      python: 'import os; print(os.environ["LEVEL"], os.environ["API_KEY"])',
      bash: 'echo $LEVEL $API_KEY',
      javascript: 'console.log(process.env.LEVEL, process.env.API_KEY)',
    }[language];
    expect(await execute({ language, code })).toMatchObject({ stdout: 'create k\n' });
    await call('PATCH /env', { env_vars: { LEVEL: 'env' } });
    expect(await execute({ language, code })).toMatchObject({ stdout: 'env k\n' });
    expect(await execute({ language, code, env: { LEVEL: 'request' } })).toMatchObject({
      stdout: 'request k\n',
    });
    expect(await execute({ language, code })).toMatchObject({ stdout: 'env k\n' });
  });
});

describe('files', () => {
  const read = (path: string) => call(`GET /files/read?path=${encodeURIComponent(path)}`);

  test('written ones are there for the code, and those of the code can be read', async () => {
    const json = { path: '/workspace/run.sh', content: 'echo "from a file" > out.txt', mode: '0755' };
    expect(await call('POST /files/write', json)).toMatchObject({ status: 200 });
    await execute({ language: 'bash', code: 'bash run.sh' });
    expect(await read('/workspace/out.txt')).toMatchObject({
      status: 200,
      body: { content: 'from a file\n', size: 12 },
    });
    expect(await execute({ language: 'bash', code: 'stat -c %a run.sh' })).toMatchObject({ stdout: '755\n' });
  });

  test.each([
    [
      'reading what is not there',
      'GET /files/read?path=/workspace/none',
      undefined,
      404,
      'RESOURCE_NOT_FOUND',
    ],
    ['reading elsewhere', 'GET /files/read?path=/etc/passwd', undefined, 403, 'FORBIDDEN'],
    ['reading through ..', 'GET /files/read?path=/workspace/../etc/passwd', undefined, 403, 'FORBIDDEN'],
    ['writing elsewhere', 'POST /files/write', { path: '/etc/x', content: '' }, 403, 'FORBIDDEN'],
    [
      'writing over a file',
      'POST /files/write',
      { path: 'a', content: '', overwrite: false },
      409,
      'CONFLICT',
    ],
  ])('%s is refused', async (_says, route, json, status, code) => {
    await call('POST /files/write', { path: 'a', content: '' });
    expect(await call(route, json)).toMatchObject({ status, body: { code } });
  });
});

test('internet access is given where it is asked for', async () => {
  const json = { template_id: '73', internet_access: true };
  const { status, body } = await api.call('POST /v1/sandboxes', { json });
  expect(status).toBe(201);
  expect(body).toMatchObject({ internet_access: true });
});

test('two sandboxes do not see each other', async () => {
  const other = await api.createSandbox({ timeout_seconds: 600 });
  await execute({ language: 'bash', code: 'echo mine > /workspace/a; echo mine > /tmp/a' });
  const json = { language: 'bash', code: 'ls -A /workspace /tmp' };
  const { body } = await api.call('POST /execute', { token: other.token, json });
  expect(body['stdout']).not.toContain('a\n');
  await api.call(`DELETE /v1/sandboxes/${other.id}`);
});

test('the lifetime ends the sandbox on time, also in the middle of a run', async () => {
  const brief = await api.createSandbox({ timeout_seconds: 1 });
  const startedMs = performance.now();
  const json = { language: 'bash', code: 'sleep 60' };
  const reply = await api.call('POST /execute', { token: brief.token, json });
  expect(performance.now() - startedMs).toBeLessThan(2000);
  expect(reply).toMatchObject({ status: 500, body: { code: 'INTERNAL_ERROR' } });
  expect(await api.call(`GET /v1/sandboxes/${brief.id}`)).toMatchObject({
    status: 410,
    body: { code: 'SANDBOX_EXPIRED' },
  });
});
