import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createHopxClient, type HopxClient } from '../../src/client/hopx-client.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import type { Language } from '../../src/contract/results.ts';
import { type Engine, startEngine } from '../../src/engine/engine.ts';
import { silentLog } from '../../src/log.ts';
import { runDetached } from '../../src/sandboxes/detached.ts';
import { createLiveOutput } from '../../src/sandboxes/live-output.ts';
import { newCall } from '../support/calls.ts';

let engine: Engine;
let client: HopxClient;
let sandboxId = '';

beforeAll(async () => {
  engine = await startEngine({ listen: { kind: 'socket' }, log: silentLog });
  const { baseUrl, apiKey, socketPath } = engine;
  client = createHopxClient({ baseUrl, apiKey, socketPath, rates: unlimitedRates, log: silentLog });
  sandboxId = (
    await client.createSandbox({ template_name: 'code-interpreter', timeout_seconds: 300 }, newCall())
  ).id;
});
afterAll(async () => {
  await client.close();
  await engine.close();
});

let nth = 0;
/** Runs a program of up to `timeoutSeconds` detached, looking every few milliseconds. */
function detach(
  language: Language,
  code: string,
  { timeoutSeconds = 400, signal = new AbortController().signal } = {},
) {
  nth += 1;
  const live = createLiveOutput(1_000);
  const program = { executionId: `exec_${nth}`, sandboxId, language, timeoutSeconds };
  const request = { code, language, workdir: '/workspace', env: { GREETING: 'hello' } };
  const sleep = (_ms: number, stop: AbortSignal) =>
    new Promise((resolve, reject) => {
      if (stop.aborted) reject(stop.reason);
      setTimeout(resolve, 50);
      stop.addEventListener('abort', () => reject(stop.reason), { once: true });
    });
  const running = runDetached({
    client,
    program,
    request,
    live,
    outputLimitChars: 1_000,
    call: newCall({ signal, budgetMs: 20_000 }),
    now: () => performance.now(),
    sleep,
  });
  return { running, live };
}

describe('a program too long for one request', () => {
  test.each([
    {
      language: 'python',
      code: 'import os; print(os.environ["GREETING"], os.getcwd())',
      reply: { stdout: 'hello /workspace\n', exit_code: 0, success: true },
    },
    {
      language: 'javascript',
      code: 'console.error("no"); process.exit(3)',
      reply: { stderr: 'no\n', exit_code: 3, success: false },
    },
    { language: 'bash', code: 'echo $GREETING', reply: { stdout: 'hello\n', exit_code: 0 } },
    { language: 'bash', code: "echo \"it's\" '$HOME `quoted`'", reply: { stdout: "it's $HOME `quoted`\n" } },
  ] as const)('in $language ends with its output and exit code: $code', async ({ language, code, reply }) => {
    expect((await detach(language, code).running).reply).toMatchObject(reply);
  });

  test('that prints much leaves all of it in a file that the result names', async () => {
    const { reply } = await detach('bash', 'seq 10000').running;
    expect(reply.stdout?.startsWith('1\n2\n')).toBe(true);
    expect(reply.stdout?.endsWith('10000\n')).toBe(true);
    const [cut] = reply.truncated ?? [];
    expect(cut).toMatchObject({ stream: 'stdout', total_chars: 48_894 });
    expect((await client.readFile(sandboxId, cut?.full_output_path ?? '', newCall())).length).toBe(48_894);
  });

  test('that does not end is stopped at its time, its output kept', async () => {
    const { reply } = await detach('bash', 'echo so far; sleep 100', { timeoutSeconds: 1 }).running;
    expect(reply).toMatchObject({ stdout: 'so far\n', ended_by: 'timeout', exit_code: 124 });
  });

  test.each([124, 137])('that exits with %i before its time has not run out of it', async (exitCode) => {
    const { reply } = await detach('bash', `exit ${exitCode}`).running;
    expect(reply).toMatchObject({ exit_code: exitCode, success: false });
    expect(reply).not.toHaveProperty('ended_by');
  });

  test('shows what it prints while it runs', async () => {
    const { running, live } = detach('bash', 'echo first; sleep 1; echo second');
    await expect.poll(() => live.shown('stdout').shown).toBe('first\n');
    await running;
  });

  test('that is cancelled is gone with all it started', async () => {
    const abort = new AbortController();
    const { running, live } = detach('bash', 'echo started; sleep 4711.5 & wait', { signal: abort.signal });
    await expect.poll(() => live.shown('stdout').shown).toBe('started\n');
    abort.abort();
    await expect(running).rejects.toMatchObject({ code: 'CANCELLED' });
    const { stdout } = await client.runCommand(
      sandboxId,
      'cat /proc/[0-9]*/cmdline | tr "\\0" " "',
      newCall(),
    );
    expect(stdout).not.toContain('sleep 4711.5 ');
  });
});
