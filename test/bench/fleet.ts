import { seededRandom } from '../support/seeded-random.ts';
import { createEventHeap } from './support/event-heap.ts';
import { median, percent, quantile, round } from './support/measure.ts';
import {
  type Answer,
  CONTROL_LIMIT,
  CREATE_LIMIT,
  governed,
  type Kind,
  type Pacer,
  sleeper,
  WINDOW_MS,
} from './support/pacers.ts';
import { report } from './support/report.ts';

/** Each wants one sandbox, two looks at it, and to delete it: 4 control requests, of which 1 is a create. */
const SERVERS = 10_000;
const WORK: readonly Kind[] = ['create', 'read', 'read', 'delete'];
/** Creates are what there is least of: the last of them can go no sooner than this. */
const MINIMUM_MS = (SERVERS / CREATE_LIMIT - 1) * WINDOW_MS;
const BUCKET_MS = 100;

/** One account's fixed windows: a create counts in both, and what is refused in neither. */
function createAccount(now: () => number) {
  let window = -1;
  let control = 0;
  let creates = 0;
  const perBucket = new Map<number, number>();
  const seen = { requests: 0, refused: 0, perBucket };
  return {
    seen,
    answer(kind: Kind): Answer {
      const current = Math.floor(now() / WINDOW_MS);
      if (current !== window) [window, control, creates] = [current, 0, 0];
      const bucket = Math.floor(now() / BUCKET_MS);
      perBucket.set(bucket, (perBucket.get(bucket) ?? 0) + 1);
      seen.requests += 1;
      const isCreate = kind === 'create';
      const ok = control < CONTROL_LIMIT && (!isCreate || creates < CREATE_LIMIT);
      if (ok) {
        control += 1;
        if (isCreate) creates += 1;
      } else seen.refused += 1;
      const resetInMs = (current + 1) * WINDOW_MS - now();
      return isCreate
        ? { ok, limit: CREATE_LIMIT, remaining: CREATE_LIMIT - creates, resetInMs }
        : { ok, limit: CONTROL_LIMIT, remaining: CONTROL_LIMIT - control, resetInMs };
    },
  };
}

type Fleet = { name: string; pacer(now: () => number, random: () => number): Pacer };

function simulate({ pacer }: Fleet) {
  const random = seededRandom(10_000);
  const events = createEventHeap();
  let nowMs = 0;
  const now = () => nowMs;
  const account = createAccount(now);
  const doneMs: number[] = [];
  const firstMs: number[] = [];

  const begin = (pace: Pacer) => {
    let nth = 0;
    const next = () => {
      const kind = WORK[nth];
      if (kind === undefined) {
        doneMs.push(nowMs);
        return;
      }
      const waitMs = pace.waitMs(kind);
      if (waitMs > 0) {
        events.push(nowMs + Math.max(waitMs, 0.01), next);
        return;
      }
      pace.sent(kind);
      const halfMs = 20 + random() * 40;
      events.push(nowMs + halfMs, () => {
        const answer = account.answer(kind);
        events.push(nowMs + halfMs, () => {
          pace.heard(kind, answer);
          if (answer.ok) nth += 1;
          if (answer.ok && nth === 1) firstMs.push(nowMs);
          next();
        });
      });
    };
    next();
  };
  for (let server = 0; server < SERVERS; server += 1) {
    events.push(random() * WINDOW_MS, () => begin(pacer(now, random)));
  }
  for (let event = events.pop(); event !== undefined; event = events.pop()) {
    nowMs = event.atMs;
    event.run();
  }
  const { requests, refused, perBucket } = account.seen;
  const fullest = [...perBucket.values()].reduce((most, each) => Math.max(most, each), 0);
  const peak = fullest * (1_000 / BUCKET_MS);
  return {
    minutes: nowMs / WINDOW_MS,
    ratio: (firstMs.at(-1) ?? 0) / MINIMUM_MS,
    refusedShare: refused / requests,
    requestsEach: requests / SERVERS,
    peakPerSecond: peak,
    meanPerSecond: (requests / nowMs) * 1_000,
    doneMs,
  };
}

const fleets: readonly Fleet[] = [
  { name: 'ours', pacer: governed },
  { name: 'sleeps retry_after', pacer: sleeper(0) },
  { name: 'retry_after + up to 10 % of a window', pacer: sleeper(0.1) },
  { name: 'retry_after + up to one window', pacer: sleeper(1) },
];
const results = fleets.map((fleet) => ({ name: fleet.name, ...simulate(fleet) }));
const [mine, naive] = results;
const minutes = (mine?.doneMs ?? []).map((ms) => ms / WINDOW_MS);
const peakToMean = (result: (typeof results)[number] | undefined) =>
  (result?.peakPerSecond ?? 0) / (result?.meanPerSecond ?? 1);
report({
  bench: 'fleet',
  table: [
    [
      '10,000 servers, one account',
      'minutes',
      'over minimum',
      '429s',
      'requests each',
      'peak/s',
      'mean/s',
      'peak/mean',
    ],
    ...results.map((result) => [
      result.name,
      round(result.minutes, 1),
      result.ratio,
      percent(result.refusedShare),
      round(result.requestsEach, 1),
      Math.round(result.peakPerSecond),
      round(result.meanPerSecond, 1),
      Math.round(peakToMean(result)),
    ]),
  ],
  n: SERVERS,
  median: median(minutes),
  p99: quantile(minutes, 0.99),
  unit: 'virtual minutes until a server was done',
  ratio: (mine?.minutes ?? 0) / (naive?.minutes ?? 1),
  baseline: 'sleeping retry_after',
  targets: [
    { says: 'the last create, time over minimum', figure: mine?.ratio ?? 0, target: 1.03 },
    {
      says: 'peak over mean, against sleeping retry_after',
      figure: peakToMean(mine) / peakToMean(naive),
      target: 1,
    },
  ],
  notes: [
    'No target of the study: the two below are its goodput and a comparison. Call budgets are left out, all wait.',
    `A peak is that of the fullest tenth of a second. Theoretical minimum: ${MINIMUM_MS / WINDOW_MS} minutes.`,
  ],
  details: { fleets: results.map(({ doneMs, ...rest }) => rest) },
});
