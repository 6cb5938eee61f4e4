import { describe, expect, test } from 'vitest';
import { createGovernor } from '../../src/client/governor.ts';
import { createLane } from '../../src/client/lane.ts';
import { createRateLimiter, type RateLimit } from '../bench/support/rate-limit.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { createVirtualClock } from '../support/virtual-clock.ts';

const CALLS = 500;
const LIMIT = 100;
/** A tenth of HopX's minute, so that what it tells in seconds is told in tenths of one. */
const WINDOW_MS = 6_000;
const STEP_MS = 100;
const SEEDS = [1, 2, 3, 4, 5, 6];

/** What a server is like, and what the client knows of it. */
type World = {
  rate: RateLimit;
  /** The limit that the client believes in at first. */
  prior: number;
  tells?: 'headers' | 'headers, rounded down' | 'the limit in its refusals';
  /** Requests that somebody else sends in each window. */
  foreign?: number;
  /** A network that takes 20 ms and more there and back, not one. */
  isFar?: boolean;
};

const rate = (kind: 'fixed' | 'sliding' | 'bucket', usedMs = 0) => ({
  kind,
  limit: LIMIT,
  windowMs: WINDOW_MS,
  usedMs,
});
const headers = 'headers';

const rows: [says: string, world: World, most: { ratio: number; refused: number }][] = [
  ['fixed window, limit known', { rate: rate('fixed'), prior: 100 }, { ratio: 1.01, refused: 0 }],
  ['sliding log, limit known', { rate: rate('sliding'), prior: 100 }, { ratio: 1.01, refused: 0 }],
  ['token bucket, limit known', { rate: rate('bucket'), prior: 100 }, { ratio: 1.01, refused: 0 }],
  ['fixed, headers', { rate: rate('fixed'), prior: 100, tells: headers }, { ratio: 1.01, refused: 0 }],
  ['sliding, headers', { rate: rate('sliding'), prior: 100, tells: headers }, { ratio: 1.01, refused: 0 }],
  ['bucket, headers', { rate: rate('bucket'), prior: 100, tells: headers }, { ratio: 1.01, refused: 0 }],
  [
    'bucket, headers, far away',
    { rate: rate('bucket'), prior: 100, tells: headers, isFar: true },
    { ratio: 1.02, refused: 0 },
  ],
  ['prior too high', { rate: rate('sliding'), prior: 900, tells: headers }, { ratio: 1.01, refused: 0 }],
  ['prior too low', { rate: rate('fixed'), prior: 20, tells: headers }, { ratio: 1.01, refused: 0 }],
  [
    'joined in the middle of a window',
    { rate: rate('fixed', WINDOW_MS / 2), prior: 100, tells: headers },
    { ratio: 1.01, refused: 0 },
  ],
  [
    'resets rounded down',
    { rate: rate('fixed', WINDOW_MS / 2 + 30), prior: 100, tells: 'headers, rounded down' },
    { ratio: 1.02, refused: 0 },
  ],
  [
    'the limit told with the first refusal',
    { rate: rate('fixed'), prior: 900, tells: 'the limit in its refusals' },
    { ratio: 1.02, refused: 8 },
  ],
  ['fixed, nothing known', { rate: rate('fixed'), prior: 900 }, { ratio: 1.02, refused: 16 }],
  ['sliding, nothing known', { rate: rate('sliding'), prior: 900 }, { ratio: 1.03, refused: 16 }],
  ['bucket, nothing known', { rate: rate('bucket'), prior: 900 }, { ratio: 1.02, refused: 16 }],
  [
    'somebody else takes 40',
    { rate: rate('fixed'), prior: 100, foreign: 40 },
    // 60 a window are left: eight windows are waited for, not four.
    { ratio: 2.1, refused: 16 },
  ],
  [
    'somebody else takes 40, headers',
    { rate: rate('sliding'), prior: 100, foreign: 40, tells: headers },
    // Whoever comes between a count and what is in flight by it takes one away.
    { ratio: 2.1, refused: 8 },
  ],
];

/** All calls at once through a lane, on a virtual clock, against a server some milliseconds away. */
async function simulate({ rate, prior, tells, foreign = 0, isFar = false }: World, seed: number) {
  const clock = createVirtualClock();
  const random = seededRandom(seed);
  const governor = createGovernor({ limit: prior, windowMs: WINDOW_MS, now: clock.now, random });
  const { now, setTimer } = clock;
  const lane = createLane({ governor, concurrency: 8, now, setTimer });
  const admit = createRateLimiter(rate, now);
  const { signal } = new AbortController();
  const wait = (ms: number) => new Promise<void>((resolve) => void setTimer(resolve, ms));
  // Now and then one is overtaken by the others.
  const way = () => wait((0.2 + random() * 0.5 + (random() < 0.02 ? 8 : 0)) * (isFar ? 15 : 1));
  let refused = 0;
  let doneMs = 0;

  const intrude = () => {
    admit();
    setTimer(intrude, (0.5 + random()) * (WINDOW_MS / foreign));
  };
  if (foreign > 0) intrude();

  const attempt = async (sentMs: number): Promise<boolean> => {
    await way();
    const { isAdmitted, remaining, resetInMs, retryInMs } = admit();
    const stepMs = tells === 'headers, rounded down' ? STEP_MS : 1;
    // What was rounded down is believed to lie at the end of its step.
    const toldMs = (Math.floor((now() + resetInMs) / stepMs) + 1) * stepMs;
    await way();
    const facts = { limit: rate.limit, remaining, resetInMs: Math.max(0, toldMs - now()) };
    governor.onAnswer({ sentMs, counted: isAdmitted, ...(tells?.startsWith(headers) && { facts }) });
    if (isAdmitted) governor.onSuccess();
    else {
      refused += 1;
      const told = tells === 'the limit in its refusals' ? rate : undefined;
      governor.onThrottle(Math.ceil(retryInMs / STEP_MS) * STEP_MS, told);
    }
    return isAdmitted;
  };
  const call = async () => {
    let front = false;
    const ticket = () => ({ priority: 0, key: 'sbx1', front, signal, deadlineMs: Infinity, progress() {} });
    while (!(await lane.attempt(ticket(), attempt))) front = true;
    doneMs = Math.max(doneMs, now());
  };
  const calls = Array.from({ length: CALLS }, call);
  await clock.advance(15 * WINDOW_MS);
  await Promise.all(calls);
  lane.close();
  const minimumMs = (CALLS / LIMIT - 1) * WINDOW_MS - (rate.usedMs ?? 0);
  return { ratio: doneMs / minimumMs, refused };
}

describe('500 calls at once against 100 a window', () => {
  test.each(rows)('%s', async (_says, world, most) => {
    for (const seed of SEEDS) {
      const { ratio, refused } = await simulate(world, seed);
      expect(refused, `refusals, seed ${seed}`).toBeLessThanOrEqual(most.refused);
      expect(ratio, `time over the minimum, seed ${seed}`).toBeLessThanOrEqual(most.ratio);
    }
  });
});
