import { describe, expect, test } from 'vitest';
import { createGovernor, type RateFacts } from '../../src/client/governor.ts';
import { createLane, type Ticket } from '../../src/client/lane.ts';
import { createVirtualClock } from '../support/virtual-clock.ts';

type Sent = { id: string; atMs: number };

function setUp({
  limit = Number.POSITIVE_INFINITY,
  windowMs = 1_000,
  concurrency = 4,
  takesMs = 10,
  maxQueued = 100,
  facts,
}: {
  limit?: number;
  windowMs?: number;
  concurrency?: number;
  takesMs?: number;
  maxQueued?: number;
  facts?: () => RateFacts | undefined;
} = {}) {
  const clock = createVirtualClock();
  const governor = createGovernor({ limit, windowMs, now: clock.now, random: () => 0 });
  const lane = createLane({ governor, concurrency, maxQueued, now: clock.now, setTimer: clock.setTimer });
  const sent: Sent[] = [];
  const { signal } = new AbortController();
  const submit = (id: string, more: Partial<Ticket> = {}) =>
    lane.attempt(
      { priority: 0, key: '', front: false, signal, deadlineMs: 60_000, progress() {}, ...more },
      async (sentMs) => {
        sent.push({ id, atMs: clock.now() });
        await clock.sleep(takesMs, signal);
        governor.onAnswer({ sentMs, counted: true, facts: facts?.() });
        governor.onSuccess();
        return id;
      },
    );
  return { clock, governor, lane, sent, submit };
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'success',
    (error: { code?: string }) => error.code,
  );
const ids = (count: number) => Array.from({ length: count }, (_, index) => `${index}`);

describe('a lane', () => {
  test('sends in the rhythm of its limit, and never sooner', async () => {
    const { clock, sent, submit } = setUp({ limit: 10, takesMs: 0, concurrency: 16 });
    const all = Promise.all(ids(25).map((id) => submit(id)));
    await clock.advance(5_000);
    await all;
    const perWindow = [0, 1_000, 2_000].map(
      (fromMs) => sent.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + 1_000).length,
    );
    expect(perWindow).toEqual([10, 10, 5]);
  });

  test('keeps to its concurrency', async () => {
    const { clock, sent, submit } = setUp({ concurrency: 4, takesMs: 10 });
    const all = Promise.all(ids(12).map((id) => submit(id)));
    await clock.advance(1_000);
    await all;
    for (const { atMs } of sent)
      expect(sent.filter((other) => Math.abs(other.atMs - atMs) < 10).length).toBeLessThanOrEqual(4);
  });

  test('a pause that a job learns of holds back the very next one', async () => {
    const { clock, governor, lane, sent, submit } = setUp({ concurrency: 1 });
    const refused = lane.attempt(
      {
        priority: 0,
        key: '',
        front: false,
        signal: new AbortController().signal,
        deadlineMs: 60_000,
        progress() {},
      },
      async (sentMs) => {
        governor.onAnswer({ sentMs, counted: false });
        governor.onThrottle(500);
      },
    );
    const next = submit('next');
    await clock.advance(499);
    expect(sent).toEqual([]);
    await clock.advance(20);
    await Promise.all([refused, next]);
    expect(sent).toEqual([{ id: 'next', atMs: 500 }]);
  });

  test('what cannot be sent by its deadline is refused at the door, with the wait', async () => {
    const { governor, submit } = setUp();
    governor.onThrottle(30_000);
    await expect(submit('late', { deadlineMs: 20_000 })).rejects.toMatchObject({
      code: 'RATE_LIMIT_EXCEEDED',
      facts: { retryAfterSeconds: 30 },
    });
  });

  test('what waits for a slot past its deadline is refused then', async () => {
    const { clock, submit } = setUp({ concurrency: 1, takesMs: 50_000 });
    void submit('long');
    const waiting = codeOf(submit('waiting', { deadlineMs: 5_000 }));
    await clock.advance(6_000);
    expect(await waiting).toBe('QUEUE_FULL');
  });

  test('a full queue refuses, and says when to come back', async () => {
    const { submit, governor } = setUp({ maxQueued: 2 });
    governor.onThrottle(1_000);
    const waiting = [submit('a'), submit('b')].map(codeOf);
    await expect(submit('c')).rejects.toMatchObject({ code: 'QUEUE_FULL', facts: { retryAfterSeconds: 1 } });
    expect(waiting).toHaveLength(2);
  });

  test('one signal cancels all that wait, nothing of them is sent, and no timer is left', async () => {
    const { clock, governor, lane, sent, submit } = setUp({ maxQueued: 2_000 });
    governor.onThrottle(1_000);
    const abort = new AbortController();
    const cancelled = ids(1_000).map((id) => codeOf(submit(id, { signal: abort.signal })));
    const kept = submit('kept');
    abort.abort();
    expect(new Set(await Promise.all(cancelled))).toEqual(new Set(['CANCELLED']));
    expect(lane.size).toBe(1);
    await clock.advance(2_000);
    await kept;
    expect(sent.map(({ id }) => id)).toEqual(['kept']);
    expect(clock.pendingTimers).toBe(0);
  });

  test('tells who waits what for, at most twice a second', async () => {
    const { clock, governor, submit } = setUp();
    governor.onThrottle(2_000);
    const heard: string[] = [];
    void submit('first');
    void submit('second', { progress: (message) => heard.push(message) });
    await clock.advance(1_600);
    expect(heard[0]).toBe('rate limited by the sandbox API, 2 s left, 1 ahead in the queue');
    expect(heard.length).toBeLessThanOrEqual(6);
  });

  test('who waits for a slot hears that it is one of ours', async () => {
    const { clock, submit } = setUp({ concurrency: 1, takesMs: 5_000 });
    const heard: string[] = [];
    void submit('long');
    void submit('next', { progress: (message) => heard.push(message) });
    await clock.advance(600);
    expect(heard).toEqual(['waiting for other calls to end, 0 ahead in the queue']);
  });

  test('a long run in flight does not hold up the one after it, though nothing was answered yet', async () => {
    const { clock, sent, submit } = setUp({ limit: 100, takesMs: 60_000 });
    for (const id of ids(4)) void submit(id);
    await clock.advance(2_000);
    expect(sent.map(({ atMs }) => atMs)).toEqual([0, 0, 1_000, 1_000]);
  });

  test('closing refuses all that wait', async () => {
    const { governor, lane, submit } = setUp();
    governor.onThrottle(1_000);
    const waiting = codeOf(submit('a'));
    lane.close();
    expect(await waiting).toBe('CANCELLED');
    expect(await codeOf(submit('b'))).toBe('CANCELLED');
  });
});
