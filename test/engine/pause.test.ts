import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Engine, startEngine } from '../../src/engine/engine.ts';
import { silentLog } from '../../src/log.ts';
import { countOf } from '../support/guest-processes.ts';
import { apiClient } from './api-client.ts';

let engine: Engine;
let api: ReturnType<typeof apiClient>;
let mine: Awaited<ReturnType<typeof api.createSandbox>>;

beforeAll(async () => {
  engine = await startEngine({ listen: { kind: 'socket' }, log: silentLog });
  api = apiClient(engine);
});
afterAll(async () => {
  await api.close();
  await engine.close();
});
beforeEach(async () => {
  mine = await api.createSandbox({ timeout_seconds: 600 });
  return () => api.call(`DELETE /v1/sandboxes/${mine.id}`);
});

const agent = (route: string, json?: unknown) =>
  api.call(route.replace(' ', ` ${mine.host}`), { token: mine.token, json });
const change = (verb: string) => api.call(`POST /v1/sandboxes/${mine.id}/${verb}`);
const bash = async (code: string) =>
  (await agent('POST /execute', { language: 'bash', code })).body['stdout'];

const counting = 'while :; do echo x >> /workspace/count; sleep 0.01; done';

test.each([
  ['bash', counting],
  ['python', 'import time\nwhile True:\n  open("/workspace/count", "a").write("x\\n"); time.sleep(0.01)'],
])('a pause freezes a counting %s program, and a resume lets it go on', async (language, code) => {
  await agent('POST /execute/background', { language, code });
  const count = async () => Number(await bash('cat /workspace/count 2>/dev/null | wc -l'));
  await expect.poll(count).toBeGreaterThan(3);
  const before = await count();
  await change('pause');
  await sleep(500);
  await change('resume');
  // It counts on while the answer is fetched; without a pause it would be 50 further.
  expect((await count()) - before).toBeLessThan(30);
  const after = await count();
  await expect.poll(count).toBeGreaterThan(after);
});

test('a run that is paused keeps its time, its output and its variables', async () => {
  const run = agent('POST /execute', {
    code: 'import time\nx = 1\ntime.sleep(0.5)\nprint("end")',
    timeout: 1,
  });
  await sleep(200);
  await change('pause');
  await sleep(1500);
  await change('resume');
  expect((await run).body).toMatchObject({ success: true, stdout: 'end\n' });
  expect((await agent('POST /execute', { code: 'x' })).body).toMatchObject({ result: '1' });
});

test('while it is paused its agent answers 409, and the control plane as ever', async () => {
  await change('pause');
  const calls = ['POST /execute', 'GET /env', 'GET /files/list', 'GET /processes', 'GET /metrics'];
  for (const call of calls) {
    const reply = await agent(call, call.startsWith('POST') ? { code: '1' } : undefined);
    expect(reply).toMatchObject({
      status: 409,
      body: { code: 'CONFLICT', error: 'Resume the sandbox first: it is paused' },
    });
  }
  expect((await api.call('GET /v1/sandboxes?status=paused')).body['data']).toMatchObject([{ id: mine.id }]);
  expect(await api.call(`POST /v1/sandboxes/${mine.id}/token/refresh`)).toMatchObject({ status: 200 });
  expect(await change('stop')).toMatchObject({ status: 409, body: { code: 'CONFLICT' } });
});

test('a lifetime goes on while it is paused', async () => {
  await api.call(`PUT /v1/sandboxes/${mine.id}/timeout`, { json: { timeout_seconds: 1 } });
  await change('pause');
  await sleep(1050);
  expect(await change('resume')).toMatchObject({ status: 410, body: { code: 'SANDBOX_EXPIRED' } });
});

test('a paused sandbox is deleted like any other', async () => {
  const run = agent('POST /execute', { language: 'bash', code: 'sleep 60' });
  await sleep(100);
  await change('pause');
  const startedMs = performance.now();
  expect(await api.call(`DELETE /v1/sandboxes/${mine.id}`)).toMatchObject({ status: 200 });
  expect(performance.now() - startedMs).toBeLessThan(400);
  expect((await run).status).toBe(500);
});

test('stop ends what runs and keeps the files, start begins anew', async () => {
  await agent('POST /execute', { code: 'x = 1; open("/workspace/kept", "w").write("x")' });
  const { body } = await agent('POST /commands/background', { command: 'sleep 60' });
  expect(await change('stop')).toMatchObject({ status: 200, body: { status: 'stopped' } });
  expect(await agent('POST /execute', { code: '1' })).toMatchObject({
    status: 409,
    body: { error: 'Start the sandbox first: it is stopped' },
  });
  expect(await change('start')).toMatchObject({ status: 200, body: { status: 'running' } });
  expect(await bash(`cat kept; ${countOf('sleep')}`)).toBe('x0\n');
  expect((await agent('POST /execute', { code: 'x' })).body).toMatchObject({
    success: false,
    variables_lost: true,
  });
  const { body: listed } = await agent('GET /execute/processes');
  expect(listed['processes']).toMatchObject([{ process_id: body['process_id'], status: 'failed' }]);
});

test('what a program stopped by itself stays stopped', async () => {
  const state = 'cut -d" " -f3 /proc/$(cat pid)/stat';
  await agent('POST /execute', {
    language: 'bash',
    code: `setsid sleep 60 & echo $! > pid; sleep 0.1; kill -STOP $!; until ${state} | grep -q T; do sleep 0.01; done`,
  });
  await change('pause');
  await change('resume');
  expect(await bash(state)).toBe('T\n');
});

test('calls that cross each other end in one state', async () => {
  const replies = await Promise.all(['pause', 'resume', 'pause', 'resume', 'pause'].map(change));
  expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  expect((await change('resume')).body).toMatchObject({ status: 'running' });
  expect(await bash('echo on')).toBe('on\n');
});
