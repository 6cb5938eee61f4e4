import { describe, expect, test } from 'vitest';
import { createGovernor, type RateFacts } from '../../src/client/governor.ts';

function setUp(options: { limit?: number; windowMs?: number; reserveShare?: number } = {}) {
  let nowMs = 1_000;
  const bare = createGovernor({
    limit: 10,
    windowMs: 1_000,
    ...options,
    now: () => nowMs,
    random: () => 0,
  });
  const inFlight: number[] = [];
  /** Sends now, and answers what was sent first. */
  const governor = {
    ...bare,
    onSend() {
      inFlight.push(nowMs);
      bare.onSend(nowMs);
    },
    onAnswer(answer: { counted: boolean; facts?: RateFacts | undefined }) {
      bare.onAnswer({ sentMs: inFlight.shift() ?? nowMs, ...answer });
    },
  };
  const send = (count = 1) => {
    for (let sent = 0; sent < count; sent += 1) governor.onSend();
  };
  const answer = (facts?: RateFacts, count = 1) => {
    for (let answered = 0; answered < count; answered += 1) {
      governor.onAnswer({ counted: true, facts });
      governor.onSuccess();
    }
  };
  const exchange = (count: number, facts?: RateFacts) => {
    for (let done = 0; done < count; done += 1) {
      send();
      answer(facts);
    }
  };
  const pass = (ms: number) => {
    nowMs += ms;
  };
  return { governor, send, answer, exchange, pass };
}

type TestedGovernor = ReturnType<typeof setUp>['governor'];

/** How many requests may go at once from here on, answers outstanding. */
function burst(governor: TestedGovernor, urgent = false): number {
  let sent = 0;
  while (sent < 1_000 && governor.wait(urgent) === 0) {
    governor.onSend();
    sent += 1;
  }
  return sent;
}

describe('without headers: a log of our own', () => {
  test('before the first answer only two go, for the window may be spent already', () => {
    expect(burst(setUp().governor)).toBe(2);
  });
  test('what is in flight for a second was taken, so that long runs do not hold up others', () => {
    const { governor, pass } = setUp({ limit: 100 });
    expect(burst(governor)).toBe(2);
    expect(governor.wait(false)).toBe(1_000);
    expect(governor.reason()).toBeUndefined();
    pass(1_000);
    expect(burst(governor)).toBe(2);
  });
  test('then as many as the limit has left, then none until the oldest answer leaves the window', () => {
    const { governor, exchange, pass } = setUp();
    exchange(4);
    pass(300);
    expect(burst(governor)).toBe(6);
    expect(governor.wait(false)).toBe(700);
  });
  test('an entry counts from its answer, for the server counted it no later', () => {
    const { governor, send, answer, exchange, pass } = setUp();
    exchange(9);
    send();
    pass(900);
    answer();
    pass(100);
    expect(burst(governor)).toBe(9);
  });
  test('unlimited is unlimited', () => {
    const { governor, exchange } = setUp({ limit: Number.POSITIVE_INFINITY });
    exchange(12);
    expect(burst(governor)).toBe(1_000);
  });
  test('a reserve is for what is urgent', () => {
    const { governor, exchange } = setUp({ limit: 20, reserveShare: 0.1 });
    exchange(10);
    expect(burst(governor)).toBe(8);
    expect(burst(governor, true)).toBe(2);
  });
});

describe('with headers', () => {
  test('what the server has left overrules the prior, both ways', () => {
    for (const remaining of [3, 40]) {
      const { governor, exchange } = setUp();
      exchange(8, { limit: 50, remaining, resetInMs: 5_000 });
      expect(burst(governor)).toBe(remaining);
      expect(governor.wait(false)).toBe(5_000);
    }
  });
  test('answers out of order: the smallest count of a window is the latest', () => {
    const { governor, send, answer } = setUp();
    send(2);
    answer({ limit: 50, remaining: 4, resetInMs: 5_000 });
    answer({ limit: 50, remaining: 5, resetInMs: 5_000 });
    expect(governor.etaMs(4)).toBe(5_000);
    expect(burst(governor)).toBe(4);
  });
  test('at the reset one probe goes, and its answer opens the rest', () => {
    const { governor, exchange, answer, pass } = setUp();
    exchange(8, { limit: 50, remaining: 0, resetInMs: 5_000 });
    pass(5_000);
    expect(burst(governor)).toBe(1);
    answer({ limit: 50, remaining: 49, resetInMs: 60_000 });
    expect(burst(governor)).toBe(49);
  });
  test('a probe that takes a second runs, and says nothing: the log decides', () => {
    const { governor, exchange, pass } = setUp();
    exchange(8, { limit: 50, remaining: 0, resetInMs: 5_000 });
    pass(5_000);
    expect(burst(governor)).toBe(1);
    expect(governor.wait(false)).toBe(1_000);
    pass(1_000);
    expect(burst(governor)).toBe(49);
  });
  test('runs that were taken before a count was told are in it', () => {
    const { governor, exchange, send, pass } = setUp();
    exchange(1);
    send(4);
    pass(1_001);
    governor.onAnswer({ counted: true, facts: { limit: 50, remaining: 3, resetInMs: 5_000 } });
    expect(burst(governor)).toBe(3);
  });
  test('headers that stop coming hand back to the log', () => {
    const { governor, exchange, pass } = setUp();
    exchange(8, { limit: 50, remaining: 0, resetInMs: 1_000 });
    pass(1_000);
    exchange(1);
    expect(burst(governor)).toBe(49);
  });
  test('a reset in an hour contradicts the documented windows and is not believed', () => {
    const { governor, exchange } = setUp();
    exchange(4, { limit: 50, remaining: 0, resetInMs: 3_600_000 });
    expect(burst(governor)).toBe(6);
  });
});

describe('after a refusal', () => {
  test('nothing goes before the wait is over, then one, two, four …', () => {
    const { governor, exchange, send, answer, pass } = setUp({ limit: 100 });
    exchange(8);
    send();
    governor.onAnswer({ counted: false });
    governor.onThrottle(400);
    expect(governor.wait(true)).toBe(400);
    expect(governor.reason()).toBe('rate limited');
    pass(400);
    for (const ramp of [1, 2, 4]) {
      expect(burst(governor)).toBe(ramp);
      answer(undefined, 1);
      for (let rest = 1; rest < ramp; rest += 1) governor.onAnswer({ counted: true });
    }
  });
  test('a shorter wait never shortens a longer one', () => {
    const { governor, send } = setUp();
    send(2);
    governor.onThrottle(900);
    governor.onThrottle(100);
    expect(governor.wait(false)).toBe(900);
  });
  test('the limit that the text names is learned', () => {
    const { governor, exchange, send, pass } = setUp({ limit: 100 });
    exchange(5);
    send();
    governor.onAnswer({ counted: false });
    governor.onThrottle(10, { limit: 6, windowMs: 1_000 });
    pass(10);
    exchange(1);
    expect(governor.wait(false)).toBeGreaterThan(0);
  });
});

describe('a refusal that names no limit', () => {
  const refusedAfter = (taken: number) => {
    const all = setUp({ limit: 100 });
    all.exchange(taken);
    all.send();
    all.governor.onAnswer({ counted: false });
    all.governor.onThrottle(1_000);
    return all;
  };
  test('teaches it: what the server took is the limit', () => {
    const { governor, exchange, pass } = refusedAfter(20);
    pass(1_000);
    exchange(10);
    expect(burst(governor)).toBe(10);
  });
  test('but not for ever: with every two clean windows it creeps back', () => {
    const { governor, exchange, pass } = refusedAfter(20);
    for (let windows = 0; windows < 4; windows += 1) {
      pass(1_000);
      exchange(10);
    }
    pass(1_000);
    expect(burst(governor)).toBeGreaterThan(20);
  });
});

describe('the breaker', () => {
  const fault = (governor: TestedGovernor) => {
    governor.onSend();
    governor.onAnswer({ counted: false });
    governor.onFault();
  };
  test('eight faults in a row close the lane, each time for longer, with two probes between', () => {
    const { governor, exchange, pass } = setUp({ limit: 1_000 });
    exchange(12);
    for (let nth = 0; nth < 7; nth += 1) fault(governor);
    expect(governor.wait(false)).toBe(0);
    fault(governor);
    for (const pauseMs of [250, 500, 1_000, 2_000, 4_000, 4_000]) {
      expect(governor.wait(false)).toBe(pauseMs);
      expect(governor.reason()).toBe('unavailable');
      pass(pauseMs);
      expect(burst(governor)).toBe(2);
      governor.onAnswer({ counted: true });
      governor.onAnswer({ counted: true });
      governor.onFault();
      governor.onFault();
    }
  });
  test('a success between them opens it', () => {
    const { governor, exchange } = setUp({ limit: 1_000 });
    exchange(12);
    for (let nth = 0; nth < 20; nth += 1) {
      fault(governor);
      if (nth % 5 === 0) exchange(1);
    }
    expect(governor.wait(false)).toBe(0);
  });
});

test('the expected wait grows by a window for each limit’s worth of requests ahead', () => {
  const { governor, exchange } = setUp();
  exchange(10);
  expect([0, 9, 10, 25].map((ahead) => governor.etaMs(ahead))).toEqual([1_000, 1_000, 2_000, 3_000]);
});
