import PQueue from 'p-queue';
import { createGovernor } from '../../src/client/governor.ts';
import { createHopxClient } from '../../src/client/hopx-client.ts';
import { createLane } from '../../src/client/lane.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import { silentLog } from '../../src/log.ts';
import { newCall } from '../support/calls.ts';
import { median, quantile } from './support/measure.ts';
import { report } from './support/report.ts';
import { startServerProcess } from './support/server-process.ts';

const QUEUED = 20_000;
const FULL_LANE = 1_000;
const CANCELLED = FULL_LANE;
const ROUNDS = 7;
const HOUR_MS = 3_600_000;

/** `us` is to enqueue one, `fullUs` the same for the first thousand: no lane of the product holds more. */
type Cost = { bytes: number; us: number; fullUs: number };

/** What one more queued thing costs, over `QUEUED` of them. */
function costOf(add: (index: number) => Promise<unknown>): Cost {
  const pending = new Array<Promise<unknown>>(QUEUED);
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const startedMs = performance.now();
  let fullUs = 0;
  for (let index = 0; index < QUEUED; index += 1) {
    pending[index] = add(index);
    if (index === FULL_LANE - 1) fullUs = ((performance.now() - startedMs) / FULL_LANE) * 1_000;
  }
  const us = ((performance.now() - startedMs) / QUEUED) * 1_000;
  globalThis.gc?.();
  const bytes = (process.memoryUsage().heapUsed - before) / QUEUED;
  for (const each of pending) each.catch(() => {});
  return { bytes, us, fullUs };
}

function blockedLane() {
  const governor = createGovernor({ limit: Infinity, windowMs: HOUR_MS });
  governor.onThrottle(HOUR_MS);
  return createLane({ governor, concurrency: 8, maxQueued: QUEUED });
}

function queuedInLane(signalFor: () => AbortSignal): Cost {
  const lane = blockedLane();
  const progress = () => {};
  const cost = costOf((index) =>
    lane.attempt(
      { priority: 0, key: 'sbx1', front: false, signal: signalFor(), deadlineMs: Infinity, progress },
      async () => index,
    ),
  );
  lane.close();
  return cost;
}

function queuedInPQueue(): Cost {
  const queue = new PQueue({ concurrency: 8, autoStart: false });
  return costOf((index) => queue.add(async () => index));
}

/** From the abort until all have settled; the lane is held by one run that does not end. */
async function cancelThrough(url: string): Promise<number> {
  const rates = { ...unlimitedRates, agent: 1, windowMs: HOUR_MS };
  const client = createHopxClient({ baseUrl: url, apiKey: 'hopx_live_bench.key', rates, log: silentLog });
  await client.execute('sbx1', { code: 'first' }, newCall());
  const controller = new AbortController();
  const calls = Array.from({ length: CANCELLED }, () =>
    client.execute('sbx1', { code: 'queued' }, newCall({ budgetMs: Infinity, signal: controller.signal })),
  );
  const settled = Promise.allSettled(calls);
  await new Promise((resolve) => setTimeout(resolve, 50));
  const startedMs = performance.now();
  controller.abort();
  const ends = await settled;
  const ms = performance.now() - startedMs;
  await client.close();
  const cancelled = ends.filter((end) => end.status === 'rejected').length;
  if (cancelled !== CANCELLED) throw new Error(`only ${cancelled} of ${CANCELLED} calls were cancelled`);
  return ms;
}

let warnings = 0;
process.on('warning', (warning) => {
  warnings += 1;
  console.error(`${warning.name}: ${warning.message}`);
});

const shared = new AbortController().signal;
const ways: readonly (readonly [name: string, measure: () => Cost])[] = [
  ['p-queue alone', queuedInPQueue],
  ['lane, one signal for all', () => queuedInLane(() => shared)],
  ['lane, a signal each', () => queuedInLane(() => new AbortController().signal)],
];
const costs = ways.map(([name, measure]) => {
  const all = Array.from({ length: ROUNDS }, measure);
  return {
    name,
    bytes: median(all.map(({ bytes }) => bytes)),
    us: median(all.map(({ us }) => us)),
    fullUs: median(all.map(({ fullUs }) => fullUs)),
  };
});

const servers = startServerProcess();
const { url } = await servers.open({});
const cancelsMs: number[] = [];
for (let round = 0; round < ROUNDS; round += 1) cancelsMs.push(await cancelThrough(url));
servers.close();

const [alone, lane, laneWithSignals] = costs.map(({ bytes }) => Math.round(bytes));
report({
  bench: 'memory',
  table: [
    ['queued, without body', 'bytes a call', 'us to enqueue, of 20,000', 'of the first 1,000'],
    ...costs.map(({ name, bytes, us, fullUs }) => [name, Math.round(bytes), us, fullUs]),
  ],
  n: QUEUED,
  median: lane ?? 0,
  p99: laneWithSignals ?? 0,
  unit: 'bytes a queued call',
  ratio: (lane ?? 0) / (alone ?? 1),
  baseline: 'p-queue alone',
  targets: [
    { says: 'bytes a queued call, shared signal', figure: lane ?? 0, target: 1_500, unit: 'B' },
    { says: '1,000 calls aborted by one signal, median', figure: median(cancelsMs), target: 20, unit: 'ms' },
    { says: 'listener warnings', figure: warnings, target: 0 },
  ],
  notes: [
    'p99 in the JSON line is a call with an AbortController of its own, which is part of the figure.',
    `Aborting took ${cancelsMs.map((ms) => ms.toFixed(1)).join(', ')} ms; the first run is cold.`,
  ],
  details: { enqueue_us: costs[1]?.fullUs, abort_ms_worst: quantile(cancelsMs, 1) },
});
