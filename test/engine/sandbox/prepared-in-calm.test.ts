import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Launcher, openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { preparedInCalm } from '../../../src/engine/sandbox/prepared-in-calm.ts';

/** Starts by name, each as it is told to. */
function scripted() {
  const prepared: string[] = [];
  const ends = new Map<string, { up(): void; fail(): void }>();
  const start = preparedInCalm(
    (name: string) =>
      new Promise<{ prepare(): void }>((resolve, reject) => {
        ends.set(name, {
          up: () => resolve({ prepare: () => prepared.push(name) }),
          fail: () => reject(new Error(name)),
        });
      }),
  );
  return {
    prepared,
    begin: (name: string) => void start(name).catch(() => {}),
    end: (name: string, how: 'up' | 'fail' = 'up') => ends.get(name)?.[how](),
  };
}

describe('what was started is prepared', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  test('a moment after, where nothing else is being started', async () => {
    const { prepared, begin, end } = scripted();
    begin('only');
    end('only');
    await pass(9);
    expect(prepared).toEqual([]);
    await pass(1);
    expect(prepared).toEqual(['only']);
  });

  test.each(['up', 'fail'] as const)('with the others after the last of them: %s', async (how) => {
    const { prepared, begin, end } = scripted();
    for (const name of ['one', 'two', 'three']) begin(name);
    end('two');
    end('one');
    end('three');
    await pass(9);
    begin('last');
    await pass(100);
    expect(prepared).toEqual([]);
    end('last', how);
    await pass(10);
    expect(prepared).toEqual(['two', 'one', 'three', ...(how === 'up' ? ['last'] : [])]);
  });
});

describe('a real sandbox', () => {
  let launcher: Launcher;
  beforeAll(async () => {
    launcher = await openLauncher({ poolSize: 0 });
  });
  afterAll(() => launcher.close());

  test('has its Python kernel, under its supervisor, before it is asked to run anything', async () => {
    const sandbox = await launcher.launch({ id: 'prepared', internetAccess: false });
    await expect.poll(() => sandbox.processes().length).toBe(3);
    await sandbox.destroy();
  });

  test("that was deleted before its time came is in nobody's way", async () => {
    const sandbox = await launcher.launch({ id: 'deleted', internetAccess: false });
    await sandbox.destroy();
    expect(() => sandbox.prepare()).not.toThrow();
  });
});
