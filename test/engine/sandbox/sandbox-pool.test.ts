import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createSandboxPool } from '../../../src/engine/sandbox/sandbox-pool.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Sandboxes by number, those that live, and whether launching fails. */
function createMachine() {
  const living = new Map<number, () => void>();
  const state = { launched: 0, fails: false };
  const launch = async () => {
    if (state.fails) throw new Error('refused');
    const number = state.launched;
    state.launched += 1;
    let end = () => {};
    const ended = new Promise<'crashed'>((resolve) => {
      end = () => {
        living.delete(number);
        resolve('crashed');
      };
    });
    living.set(number, end);
    return { number, ended, destroy: async () => end() };
  };
  return { living, state, launch };
}

const soon = () => vi.advanceTimersByTimeAsync(100);

test('nothing is launched before a first one is asked for', async () => {
  const { state, launch } = createMachine();
  createSandboxPool({ launch });
  await soon();
  expect(state.launched).toBe(0);
});

test('after a first one, the next are ready, and their places are filled', async () => {
  const { living, state, launch } = createMachine();
  const pool = createSandboxPool({ launch, size: 2 });
  expect((await pool.take()).number).toBe(0);
  await soon();
  expect(state.launched).toBe(3);
  state.fails = true;
  expect((await pool.take()).number).toBe(1);
  expect((await pool.take()).number).toBe(2);
  state.fails = false;
  await soon();
  expect(living.size).toBe(5);
});

test('no sandbox is given twice, however many are asked for at once', async () => {
  const { launch } = createMachine();
  const pool = createSandboxPool({ launch, size: 2 });
  await pool.take();
  await soon();
  const taken = await Promise.all(Array.from({ length: 10 }, () => pool.take()));
  expect(new Set(taken.map(({ number }) => number)).size).toBe(10);
});

test('one that ended while it was kept ready is not given away', async () => {
  const { living, launch } = createMachine();
  const pool = createSandboxPool({ launch, size: 1 });
  await pool.take();
  await soon();
  living.get(1)?.();
  await soon();
  expect((await pool.take()).number).toBe(2);
});

test('those kept ready go when none was asked for in a while', async () => {
  const { living, launch } = createMachine();
  const pool = createSandboxPool({ launch, size: 2, idleMs: 60_000 });
  await pool.take();
  await soon();
  await vi.advanceTimersByTimeAsync(59_000);
  expect([...living.keys()]).toEqual([0, 1, 2]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect([...living.keys()]).toEqual([0]);
});

test('a failure to fill is told to whoever asks next, and not before', async () => {
  const { state, launch } = createMachine();
  const pool = createSandboxPool({ launch });
  await pool.take();
  state.fails = true;
  await soon();
  await expect(pool.take()).rejects.toThrow('refused');
});

test('a closed pool keeps nothing, not even what was under way', async () => {
  const { living, launch } = createMachine();
  const opening: (() => void)[] = [];
  const slow = async () => {
    await new Promise<void>((resolve) => opening.push(resolve));
    return launch();
  };
  const pool = createSandboxPool({ launch: slow, size: 1 });
  const first = pool.take();
  opening.shift()?.();
  await first;
  await soon();
  const closed = pool.close();
  opening.shift()?.();
  await closed;
  expect([...living.keys()]).toEqual([0]);
});
