import { describe, expect, type TestContext, test } from 'vitest';
import { newMark, processesWith, untilMs } from './support/built-server.ts';
import { endless } from './support/endless-programs.ts';
import { openStdioSession, type StdioSession } from './support/stdio-session.ts';

/** From a cancellation to the end of all processes. */
const CANCEL_MS = 200;

async function open(
  { onTestFinished }: TestContext,
  env: Record<string, string> = {},
): Promise<StdioSession> {
  const session = await openStdioSession(env);
  onTestFinished(session.close);
  return session;
}

describe.concurrent('a run that outlasts its call', () => {
  const LINES = 120;
  const counting = `import time\nfor i in range(${LINES}):\n  print("line", i, flush=True)\n  time.sleep(0.1)\n"end"`;

  test('is finished in three calls, each in its budget, with nothing lost on the way', async (context) => {
    const { execute } = await open(context, { CALL_BUDGET_SECONDS: '5' });
    const whole = Array.from({ length: LINES }, (_, index) => `line ${index}\n`).join('');
    let { execution } = await execute({ code: counting });
    const seen: string[] = [];
    for (; execution?.status === 'running'; ) {
      seen.push(execution.stdout);
      const startedMs = performance.now();
      ({ execution } = await execute({ execution_id: execution.execution_id }));
      expect(performance.now() - startedMs).toBeLessThan(5_200);
    }
    expect(execution).toMatchObject({ status: 'completed', stdout: whole, result: "'end'" });
    expect(seen).toHaveLength(2);
    for (const soFar of seen) expect(whole.startsWith(soFar)).toBe(true);
    expect(seen.map((soFar) => soFar.split('\n').length > 30)).toEqual([true, true]);
  });

  test('tells its time and last line to who gave a token, twice a second at most', async (context) => {
    const { execute, client } = await open(context);
    const heard: string[] = [];
    const startedMs = performance.now();
    await execute(
      { code: counting.replace(`${LINES}`, '30') },
      { onprogress: ({ message = '' }) => heard.push(message) },
    );
    expect(heard.length).toBeGreaterThanOrEqual(3);
    expect(heard.length).toBeLessThanOrEqual((performance.now() - startedMs) / 500);
    for (const message of heard) expect(message).toMatch(/^running for \d+ s: line \d+$/);

    const notified: string[] = [];
    client.fallbackNotificationHandler = async ({ method }) => void notified.push(method);
    await execute({ code: 'import time; time.sleep(1.2)' });
    expect(notified).toEqual([]);
  });

  test('is stopped by its id with cancel, and brings what it had said', async (context) => {
    const { execute } = await open(context, { CALL_BUDGET_SECONDS: '5' });
    const mark = newMark();
    const { execution } = await execute({ code: `print("begun", flush=True)\n${endless.python(mark)}` });
    expect(execution).toMatchObject({ status: 'running', stdout: 'begun\n' });
    const id = execution?.execution_id;
    const startedMs = performance.now();
    const stopped = await execute({ execution_id: id, cancel: true });
    expect(performance.now() - startedMs).toBeLessThan(1_000);
    expect(stopped.execution).toMatchObject({ status: 'cancelled', stdout: 'begun\n', ended_by: 'cancel' });
    expect(await untilMs(() => processesWith(mark).length === 0)).toBeLessThan(CANCEL_MS);
    const again = await execute({ execution_id: id });
    expect(again.error).toMatchObject({
      code: 'INVALID_ARGUMENTS',
      message: expect.stringContaining(String(id)),
    });
  });
});
