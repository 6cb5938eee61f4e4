import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock, timerAt } from '../../src/engine/clock.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const dayMs = 24 * 60 * 60 * 1000;

test.each([
  ['at once', 0],
  ['in a second', 1000],
  ['further away than setTimeout can wait', 60 * dayMs],
])('rings on time: %s', (_says, waitMs) => {
  const run = vi.fn();
  timerAt(Date.now() + waitMs, run, Date.now);
  expect(run).not.toHaveBeenCalled();
  if (waitMs > 0) vi.advanceTimersByTime(waitMs - 1);
  expect(run).toHaveBeenCalledTimes(0);
  vi.advanceTimersByTime(1);
  expect(run).toHaveBeenCalledTimes(1);
  expect(vi.getTimerCount()).toBe(0);
});

test('never before its time, even when timers are early', () => {
  const run = vi.fn();
  let nowMs = 0;
  timerAt(1000, run, () => nowMs);
  nowMs = 999;
  vi.advanceTimersByTime(1000);
  expect(run).not.toHaveBeenCalled();
  nowMs = 1000;
  vi.advanceTimersByTime(1);
  expect(run).toHaveBeenCalledTimes(1);
});

test('can be taken back, also after its first step', () => {
  const run = vi.fn();
  const cancel = timerAt(Date.now() + 60 * dayMs, run, Date.now);
  vi.advanceTimersByTime(30 * dayMs);
  cancel();
  expect(vi.getTimerCount()).toBe(0);
});

test('does not keep the process alive', () => {
  vi.useRealTimers();
  const holding = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const before = holding();
  const cancel = systemClock.at(Date.now() + dayMs, () => {});
  expect(holding()).toBe(before);
  cancel();
});
