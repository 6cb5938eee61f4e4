import { setTimeout as delay } from 'node:timers/promises';
import {
  type Entry,
  ours,
  pQueueAlone,
  pRetryWithHint,
  type Race,
  race,
  retryAgentAsIs,
  retryAgentForPost,
  sampleLoop,
} from './support/contenders.ts';
import type { Counts, LimitedHopxOptions } from './support/limited-hopx.ts';
import { median, percent, quantile, round } from './support/measure.ts';
import { report, type Target } from './support/report.ts';
import { startServerProcess } from './support/server-process.ts';

/** A tenth of HopX's minute. */
const WINDOW_MS = 6_000;
const LIMIT = 100;
const CALLS = 500;
const CAP_MS = 60_000;
/** So that the first rush of one is over before the next begins: they share two cores. */
const STAGGER_MS = 900;

const rate = (kind: 'fixed' | 'sliding' | 'bucket', usedMs = 0) => ({
  kind,
  limit: LIMIT,
  windowMs: WINDOW_MS,
  usedMs,
});

type Scenario = { name: string; server: LimitedHopxOptions; minimumMs: number; maxRatio: number };
const kinds = ['fixed', 'sliding', 'bucket'] as const;
const scenario = (name: string, server: LimitedHopxOptions): Scenario => {
  const { windowMs = 0, usedMs = 0 } = server.rate ?? {};
  const minimumMs = (CALLS / LIMIT - 1) * windowMs - usedMs;
  // HopX tells waits in whole seconds; here in tenths of one.
  return { name, server: { retryStepMs: 100, ...server }, minimumMs, maxRatio: usedMs > 0 ? 1.02 : 1.03 };
};
const scenarios: readonly Scenario[] = [
  ...kinds.map((kind) => scenario(kind, { rate: rate(kind) })),
  ...kinds.map((kind) => scenario(`${kind}, headers`, { rate: rate(kind), headers: true })),
  scenario('joined mid-window, headers', { rate: rate('fixed', WINDOW_MS / 2), headers: true }),
  // Rounded down, a reset invites a request too early.
  scenario('same, coarse resets', {
    rate: rate('fixed', WINDOW_MS / 2),
    headers: true,
    resetStepMs: 100,
  }),
];
/** HopX's refusals name the limit, in words that know no window of 6 s. */
const told: readonly Scenario[] = kinds.map((kind) =>
  scenario(`${kind}, told by the text`, {
    rate: { kind, limit: LIMIT, windowMs: 1_000 },
    retryStepMs: 1,
    refusalText: `Rate limit exceeded: ${LIMIT} requests per second`,
  }),
);

const known = ours('ours, documented prior', { rates: { agent: LIMIT, windowMs: WINDOW_MS } });
const ignorant = ours('ours, knowing nothing', { rates: { agent: 10_000, windowMs: WINDOW_MS } });
const entries: readonly Entry[] = [
  known,
  ignorant,
  pQueueAlone(false, LIMIT, WINDOW_MS),
  pQueueAlone(true, LIMIT, WINDOW_MS),
  retryAgentForPost,
  pRetryWithHint,
  sampleLoop('sample loop, no end', Number.POSITIVE_INFINITY),
  sampleLoop('sample loop, 3 tries', 3),
  retryAgentAsIs,
];

type Result = {
  scenario: string;
  entry: string;
  ratio: number;
  waste: number;
  failed: number;
  run: Race;
  seen: Counts;
};

const servers = startServerProcess();
async function runAll(
  { name, server, minimumMs }: Scenario,
  contenders: readonly Entry[],
): Promise<Result[]> {
  const runs = contenders.map(async (entry, index) => {
    const hopx = await servers.open(server);
    await delay(index * STAGGER_MS);
    const run = await race(entry.open(hopx.url), CALLS, CAP_MS);
    const seen = await hopx.counts();
    const waste = seen.throttled / seen.requests;
    const failed = CALLS - run.ends.ok;
    return { scenario: name, entry: entry.name, ratio: run.ms / minimumMs, waste, failed, run, seen };
  });
  return Promise.all(runs);
}
const results: Result[] = [];
for (const each of scenarios) results.push(...(await runAll(each, entries)));
for (const each of told) results.push(...(await runAll(each, [ignorant])));
servers.close();

const of = (entry: Entry, scenario: string) =>
  results.filter((result) => result.entry === entry.name && result.scenario === scenario);
const cell = ({ ratio, waste, failed }: Result) =>
  failed > 0 ? `${failed} failed / ${percent(waste)}` : `${round(ratio).toFixed(3)} / ${percent(waste)}`;

const targets: Target[] = scenarios.flatMap(({ name, maxRatio }) =>
  of(known, name).flatMap(({ ratio, seen, failed }) => [
    { says: `${name}, prior known: time over minimum`, figure: ratio, target: maxRatio },
    { says: `${name}, prior known: 429s`, figure: seen.throttled, target: 0 },
    { says: `${name}, prior known: failed`, figure: failed, target: 0 },
  ]),
);
const untold = scenarios.filter(({ server }) => server.headers !== true);
for (const { name } of [...untold, ...told]) {
  for (const { waste, failed } of of(ignorant, name)) {
    targets.push(
      { says: `${name}, knowing nothing: wasted share`, figure: waste, target: 0.04 },
      { says: `${name}, knowing nothing: failed`, figure: failed, target: 0 },
    );
  }
}

const [main] = of(known, 'fixed');
const [rival] = of(pQueueAlone(true, LIMIT, WINDOW_MS), 'fixed');
const callsMs = main?.run.callsMs ?? [];
report({
  bench: 'goodput',
  table: [
    ['time over minimum / 429s', ...scenarios.map(({ name }) => name), ...told.map(({ name }) => name)],
    ...entries.map((entry) => [
      entry.name,
      ...[...scenarios, ...told].map(({ name }) => of(entry, name).map(cell).join() || '-'),
    ]),
  ],
  n: CALLS,
  median: median(callsMs),
  p99: quantile(callsMs, 0.99),
  unit: 'ms until a call was done, fixed window, prior known',
  ratio: (main?.run.ms ?? 0) / (rival?.run.ms ?? 1),
  baseline: 'p-queue strict, fixed window',
  targets,
  details: {
    results: results.map(({ scenario, entry, ratio, seen, failed }) => ({
      scenario,
      entry,
      ratio: round(ratio),
      requests: seen.requests,
      throttled: seen.throttled,
      failed,
    })),
  },
});
// A loop without end goes on for those that were given up.
process.exit();
