import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { newMark, processesWith } from './support/built-server.ts';
import {
  type Script,
  type ScriptedServer,
  sandboxBody,
  startScriptedServer,
} from './support/scripted-server.ts';
import { openStdioPipe } from './support/stdio-pipe.ts';
import { openStdioSession } from './support/stdio-session.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const structuredShape = z.looseObject({
  sandbox: z.looseObject({ sandbox_id: z.string() }).optional(),
  execution: z.looseObject({}).optional(),
  deletion: z.looseObject({}).optional(),
  error: z.looseObject({ code: z.string(), message: z.string() }).optional(),
  call: z.looseObject({ attempts: z.number(), queued_ms: z.number(), elapsed_ms: z.number() }),
});

async function connect(env: Record<string, string> = {}) {
  const session = await openStdioSession(env);
  closers.push(session.close);
  return {
    ...session,
    call: async (name: string, args: Record<string, unknown> = {}) =>
      structuredShape.parse((await session.call(name, args)).structuredContent),
  };
}

async function connectToCloud(
  script: Script,
): Promise<{ server: ScriptedServer; session: Awaited<ReturnType<typeof connect>> }> {
  const server = await startScriptedServer((url) => ({
    'POST /v1/sandboxes': { status: 201, body: sandboxBody(url) },
    'GET /v1/sandboxes/{id}': { body: sandboxBody(url) },
    'DELETE /v1/sandboxes/{id}': { body: { status: 'deleted' } },
    'POST /v1/sandboxes/{id}/token/refresh': { body: { auth_token: 'token-two' } },
    ...script,
  }));
  closers.push(server.close);
  return {
    server,
    session: await connect({ HOPX_API_KEY: SECRET, HOPX_BASE_URL: server.url, XDG_STATE_HOME: '/dev/null' }),
  };
}

const SECRET = 'hopx_live_abcdefghijkl.s3cr3t-s3cr3t-s3cr3t';

describe('an agent and the embedded engine', () => {
  test('runs three languages, keeps Python state, fails usefully, deletes twice', async () => {
    const { call } = await connect();
    const { sandbox } = await call('create_sandbox', { timeout_seconds: 120 });
    const sandboxId = sandbox?.sandbox_id;
    expect(sandbox).toMatchObject({
      backend: 'local',
      status: 'running',
      internet_access: false,
      workdir: '/workspace',
    });
    const run = (args: Record<string, unknown>) => call('execute_code', { sandbox_id: sandboxId, ...args });

    expect((await run({ code: 'x = 41' })).execution).toMatchObject({ status: 'completed', exit_code: 0 });
    expect((await run({ code: 'x + 1' })).execution).toMatchObject({ result: '42' });
    expect((await run({ language: 'javascript', code: 'console.log(6 * 7)' })).execution).toMatchObject({
      stdout: '42\n',
    });
    expect((await run({ language: 'bash', code: 'echo $((6 * 7))' })).execution).toMatchObject({
      stdout: '42\n',
    });

    const failed = await run({ code: '1/0' });
    expect(failed.error).toMatchObject({
      code: 'CODE_EXECUTION_ERROR',
      outcome: 'performed',
      retryable: false,
    });
    expect(failed.execution).toMatchObject({
      exit_code: 1,
      stderr: expect.stringContaining('ZeroDivisionError'),
    });

    const startedMs = performance.now();
    const endless = await run({ code: 'print("so far", flush=True)\nwhile True: pass', timeout_seconds: 2 });
    expect(performance.now() - startedMs).toBeLessThan(4_000);
    expect(endless.error).toMatchObject({ code: 'EXECUTION_TIMEOUT' });
    expect(endless.execution).toMatchObject({ status: 'timed_out', stdout: 'so far\n', ended_by: 'timeout' });
    expect((await run({ code: 'x' })).execution).toMatchObject({ result: '41' });

    const gone = { sandbox_id: sandboxId, already_gone: false };
    expect((await call('delete_sandbox', { sandbox_id: sandboxId })).deletion).toEqual(gone);
    expect((await call('delete_sandbox', { sandbox_id: sandboxId })).deletion).toEqual({
      ...gone,
      already_gone: true,
    });
    expect((await call('execute_code', { code: '1', sandboxid: 'x' })).error).toMatchObject({
      code: 'INVALID_ARGUMENTS',
      message: expect.stringContaining('sandboxid'),
    });
  });

  test('the default sandbox comes by itself and stays', async () => {
    const { call } = await connect();
    const first = await call('execute_code', { code: 'open("note", "w").write("kept")' });
    const second = await call('execute_code', { language: 'bash', code: 'cat note' });
    expect(second.execution).toMatchObject({ stdout: 'kept', sandbox_id: first.sandbox?.sandbox_id });
  });
});

describe('an agent and a HopX API', () => {
  const ran = { success: true, stdout: 'hi\n', stderr: '', exit_code: 0, execution_time: 0.1 };

  test('the calls go there, one request an execute, and the key appears nowhere', async () => {
    const leak = { error: `bad key ${SECRET}`, code: 'INVALID_REQUEST' };
    const { server, session } = await connectToCloud({
      'POST /execute': [{ body: ran }, { body: ran }, { status: 400, body: leak }],
    });
    const results = [
      await session.call('execute_code', { code: '1' }),
      await session.call('execute_code', { code: '2' }),
      await session.call('execute_code', { code: '3' }),
    ];
    expect(results[1]?.execution).toMatchObject({ stdout: 'hi\n' });
    expect(results[1]?.call).toMatchObject({ attempts: 1 });
    expect(results[2]?.error).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('[redacted]'),
    });
    // Once a session the client asks whether creates keep its mark.
    const paths = server.requests.map(({ path }) => path).filter((path) => path !== '/vms/sbx1/env');
    expect(paths).toEqual(['/v1/sandboxes', '/vms/sbx1/execute', '/vms/sbx1/execute', '/vms/sbx1/execute']);
    await closers.pop()?.();
    expect(server.received('DELETE /v1/sandboxes/{id}')).toHaveLength(1);
    expect(session.stderr()).toContain('"attempt"');
    expect(JSON.stringify(results) + session.stderr()).not.toContain('s3cr3t');
  });
});

describe('a server that was killed', () => {
  test('leaves a note, and the next one deletes its cloud sandboxes', async () => {
    const state = mkdtempSync(join(tmpdir(), 'state-'));
    closers.push(async () => rmSync(state, { recursive: true }));
    const { server } = await connectToCloud({});
    const env = { HOPX_API_KEY: SECRET, HOPX_BASE_URL: server.url, XDG_STATE_HOME: state };
    const killed = await connect(env);
    await killed.call('create_sandbox');
    process.kill(killed.pid(), 'SIGKILL');
    await connect(env);
    await expect.poll(() => server.received('DELETE /v1/sandboxes/{id}').length, { timeout: 8_000 }).toBe(1);
  });
});

describe('the pipe', () => {
  const open = async () => {
    const pipe = await openStdioPipe();
    closers.push(pipe.close);
    return pipe;
  };

  /** A process that stays in the sandbox. */
  const linger = () => {
    const mark = newMark();
    return { mark, code: `sleep ${mark} & echo lingering` };
  };

  test('stdin that ends after the calls lets them be answered, then exits 0 with no sandbox left', async () => {
    const { mark, code } = linger();
    const { child, frames, write, callTool, exited } = await open();
    write('not json\n');
    await callTool('execute_code', { language: 'bash', code });
    expect(processesWith(mark)).not.toEqual([]);
    void callTool('nope', {});
    void callTool('execute_code', { code: 'print(1)' });
    child.stdin.end();
    expect(await exited).toBe(0);
    expect(frames.map(({ id }) => id).sort()).toEqual([1, 2, 3, 4]);
    expect(processesWith(mark)).toEqual([]);
  });

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    test(`${signal} in the middle of a run ends everything, exit 0`, async () => {
      const { mark, code } = linger();
      const { child, callTool, exited } = await open();
      await callTool('execute_code', { language: 'bash', code });
      void callTool('execute_code', { code: 'while True: pass' });
      child.kill(signal);
      expect(await exited).toBe(0);
      expect(processesWith(mark)).toEqual([]);
    });
  }

  test('SIGKILL leaves no sandbox behind either', async () => {
    const { mark, code } = linger();
    const { child, callTool, exited } = await open();
    await callTool('execute_code', { language: 'bash', code });
    child.kill('SIGKILL');
    await exited;
    await expect.poll(() => processesWith(mark)).toEqual([]);
  });

  test('a host that closes our stdout does not make it crash', async () => {
    const { child, callTool, exited } = await open();
    child.stdout.destroy();
    void callTool('list_sandboxes', {});
    expect(await exited).toBe(0);
  });

  test('a bad configuration is told by every tool, and the server lives', async () => {
    const { call, stderr } = await connect({ CALL_BUDGET_SECONDS: 'soon', LOG_LEVEL: 'loud' });
    const { error } = await call('list_sandboxes');
    expect(error).toMatchObject({
      code: 'CONFIGURATION_ERROR',
      message: expect.stringMatching(/CALL_BUDGET_SECONDS.*LOG_LEVEL/),
    });
    expect(stderr()).toContain('CALL_BUDGET_SECONDS');
  });
});
