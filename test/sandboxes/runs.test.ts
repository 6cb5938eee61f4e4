import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Call } from '../../src/contract/call.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { createRuns } from '../../src/sandboxes/runs.ts';
import { newCall } from '../support/calls.ts';

beforeEach(
  () =>
    void vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
    }),
);
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

/** Work that takes its time, and when it is cancelled says so. */
const lasting =
  (durationMs: number, outcome = 'done') =>
  (signal: AbortSignal) =>
    new Promise<string>((resolve) => {
      const timer = setTimeout(resolve, durationMs, outcome);
      signal.addEventListener('abort', () => {
        clearTimeout(timer);
        resolve('stopped');
      });
    });

const settled = <T>(promise: Promise<T>) => promise.catch((error: unknown) => error);

function oneRun(durationMs: number, call: Partial<Parameters<typeof newCall>[0]> = {}) {
  const runs = createRuns<string, string>();
  runs.start('exec_1', 'about it', lasting(durationMs));
  const wait = (given: Call = newCall(call)) => settled(runs.wait('exec_1', given));
  return { runs, wait };
}

const unknownRun = { code: 'INVALID_ARGUMENTS', message: expect.stringContaining('execution_id "exec_1"') };

describe('waiting for a run', () => {
  test('that ends in time', async () => {
    const { wait } = oneRun(100);
    const waiting = wait();
    await vi.advanceTimersByTimeAsync(100);
    expect(await waiting).toEqual({ about: 'about it', elapsedMs: 100, outcome: 'done' });
    expect(await wait()).toMatchObject(unknownRun);
  });

  test('that does not end before the call must answer, and for it again', async () => {
    const { wait } = oneRun(12_000, { budgetMs: 10_000 });
    const waiting = wait();
    await vi.advanceTimersByTimeAsync(9_750);
    expect(await waiting).toEqual({ about: 'about it', elapsedMs: 9_750 });
    const again = wait();
    await vi.advanceTimersByTimeAsync(2_250);
    expect(await again).toEqual({ about: 'about it', elapsedMs: 12_000, outcome: 'done' });
  });

  test('that ended while nobody waited', async () => {
    const { wait } = oneRun(100);
    await vi.advanceTimersByTimeAsync(500);
    expect(await wait()).toMatchObject({ outcome: 'done' });
  });

  test('that fails', async () => {
    const runs = createRuns<string, string>();
    runs.start('exec_1', '', async () => Promise.reject(new SandboxFailure('CONFLICT')));
    expect(await settled(runs.wait('exec_1', newCall()))).toMatchObject({ code: 'CONFLICT' });
    expect(await settled(runs.wait('exec_1', newCall()))).toMatchObject(unknownRun);
  });

  test('that nobody has started', async () => {
    const runs = createRuns();
    expect(await settled(runs.wait('exec_1', newCall()))).toMatchObject(unknownRun);
    expect(() => runs.cancel('exec_1')).toThrow(expect.objectContaining(unknownRun));
  });

  test('tells twice a second how long it runs', async () => {
    const heard: string[] = [];
    const { wait } = oneRun(1_600, { progress: (message) => void heard.push(message) });
    const waiting = wait();
    await vi.advanceTimersByTimeAsync(1_600);
    await waiting;
    expect(heard).toEqual(['running for 1 s', 'running for 1 s', 'running for 2 s']);
  });
});

describe('stopping a run', () => {
  test('by its id, its outcome still to be had', async () => {
    const { runs, wait } = oneRun(60_000);
    runs.cancel('exec_1');
    expect(await wait()).toMatchObject({ outcome: 'stopped' });
  });

  test('by cancelling the call that waits for it', async () => {
    const caller = new AbortController();
    const { wait } = oneRun(60_000, { signal: caller.signal });
    const waiting = wait();
    caller.abort();
    expect(await waiting).toMatchObject({ outcome: 'stopped' });
  });

  test('by a call that was cancelled before it waits', async () => {
    const { wait } = oneRun(60_000, { signal: AbortSignal.abort() });
    expect(await wait()).toMatchObject({ outcome: 'stopped' });
  });

  test('not by a call that has been answered', async () => {
    const caller = new AbortController();
    const { wait } = oneRun(12_000, { signal: caller.signal });
    const waiting = wait();
    await vi.advanceTimersByTimeAsync(9_750);
    await waiting;
    caller.abort();
    await vi.advanceTimersByTimeAsync(2_250);
    expect(await wait(newCall())).toMatchObject({ outcome: 'done' });
  });

  test('with all the others', async () => {
    const { runs, wait } = oneRun(60_000);
    runs.cancelAll();
    expect(await wait()).toMatchObject({ outcome: 'stopped' });
  });
});

test('of the outcomes that nobody fetches the oldest go, and no run that still goes on', async () => {
  const runs = createRuns<string, string>({ maxKept: 2 });
  for (const [id, durationMs] of [
    ['slow', 900],
    ['first', 1],
    ['second', 2],
    ['third', 3],
  ] as const) {
    runs.start(id, '', lasting(durationMs, id));
  }
  await vi.advanceTimersByTimeAsync(10);
  const fetch = (id: string) => settled(runs.wait(id, newCall()));
  expect(await fetch('first')).toMatchObject({ code: 'INVALID_ARGUMENTS' });
  expect(await fetch('second')).toMatchObject({ outcome: 'second' });
  expect(await fetch('third')).toMatchObject({ outcome: 'third' });
  const slow = fetch('slow');
  await vi.advanceTimersByTimeAsync(890);
  expect(await slow).toMatchObject({ outcome: 'slow' });
});
