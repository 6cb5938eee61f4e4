import { setTimeout as delay } from 'node:timers/promises';
import {
  type Entry,
  ours,
  pRetryWithHint,
  type Race,
  race,
  retryAgentForPost,
  sampleLoop,
} from './support/contenders.ts';
import type { Counts, LimitedHopxOptions } from './support/limited-hopx.ts';
import { median, quantile, round } from './support/measure.ts';
import { report, type Target } from './support/report.ts';
import { startServerProcess } from './support/server-process.ts';

const CALLS = 400;
/** What a call of ours has, in real time. */
const BUDGET_MS = 120_000;
const CAP_MS = BUDGET_MS + 10_000;
/** So that the first rush of one is over before the next begins: they share two cores. */
const STAGGER_MS = 500;
/** For ours, whose waits are not scaled; the others meet a tenth of it. */
const OUTAGE_MS = 30_000;

type Trouble = { name: string; server: LimitedHopxOptions; onlyOurs?: boolean; minOk?: number };
const troubles: readonly Trouble[] = [
  { name: '10 % 503', server: { refused: 0.1 }, minOk: 1 },
  { name: '30 % 503', server: { refused: 0.3 }, minOk: 1 },
  { name: '50 % 503', server: { refused: 0.5 }, minOk: 1 },
  { name: '70 % 503', server: { refused: 0.7 }, minOk: 0.99 },
  { name: 'outage 3 s', server: { outageMs: OUTAGE_MS / 10 }, minOk: 1 },
  { name: 'outage 30 s', server: { outageMs: OUTAGE_MS }, onlyOurs: true, minOk: 1 },
  { name: '5 % lost', server: { lost: 0.05 } },
  { name: '5 % proxy 503', server: { proxied: 0.05 } },
];

const mine = ours('ours (real time)', { budgetMs: BUDGET_MS });
const entries: readonly Entry[] = [
  mine,
  retryAgentForPost,
  pRetryWithHint,
  sampleLoop('sample loop, 3 tries', 3),
];

type Result = { trouble: string; entry: string; run: Race; seen: Counts };

const servers = startServerProcess();
const pairs = troubles.flatMap((trouble) =>
  entries.filter((entry) => entry === mine || !trouble.onlyOurs).map((entry) => ({ trouble, entry })),
);
const results: Result[] = await Promise.all(
  pairs.map(async ({ trouble, entry }, index) => {
    const hopx = await servers.open(trouble.server);
    await delay(index * STAGGER_MS);
    const run = await race(entry.open(hopx.url), CALLS, CAP_MS);
    return { trouble: trouble.name, entry: entry.name, run, seen: await hopx.counts() };
  }),
);
servers.close();

const find = (entry: Entry, trouble: string) =>
  results.filter((result) => result.entry === entry.name && result.trouble === trouble);
const cell = ({ run: { ends, ms }, seen }: Result) =>
  [
    `${ends.ok} ok`,
    ...(ends.unknown > 0 ? [`${ends.unknown} unknown`] : []),
    `${round(ms / 1000, 1)} s`,
    `${round(seen.requests / CALLS, 2)}/call`,
    ...(seen.repeated > 0 ? [`${seen.repeated} TWICE`] : []),
  ].join(' ');

const ofOurs = troubles.flatMap((trouble) =>
  find(mine, trouble.name).map((result) => ({ ...result, trouble })),
);
const targets: Target[] = ofOurs.flatMap(({ trouble, run, seen }) => [
  ...(trouble.minOk === undefined
    ? []
    : [
        {
          says: `${trouble.name}: success`,
          figure: run.ends.ok / CALLS,
          target: trouble.minOk,
          least: true,
        },
      ]),
  { says: `${trouble.name}: code run twice`, figure: seen.repeated, target: 0 },
]);
for (const { run, seen } of find(mine, 'outage 30 s')) {
  const recoverySeconds = (run.ms - OUTAGE_MS) / 1000;
  targets.push(
    { says: 'outage 30 s: requests per call', figure: seen.requests / CALLS, target: 1.15 },
    { says: 'outage 30 s: all served after its end', figure: recoverySeconds, target: 8, unit: 's' },
  );
}

const [main] = find(mine, '30 % 503');
const [rival] = find(retryAgentForPost, '30 % 503');
report({
  bench: 'faults',
  table: [
    ['400 executes', ...troubles.map(({ name }) => name)],
    ...entries.map((entry) => [
      entry.name,
      ...troubles.map(({ name }) => find(entry, name).map(cell).join() || '-'),
    ]),
  ],
  n: CALLS,
  median: median(main?.run.callsMs ?? []),
  p99: quantile(main?.run.callsMs ?? [], 0.99),
  unit: 'ms until a call was done, 30 % 503',
  ratio: (main?.run.ms ?? 0) / (rival?.run.ms ?? 1),
  baseline: 'RetryAgent for POST with its waits divided by ten, 30 % 503',
  targets,
  notes: ['Waits of the others are divided by ten, ours are not: read our times as a tenth.'],
  details: {
    results: results.map(({ trouble, entry, run, seen }) => ({
      trouble,
      entry,
      ...run.ends,
      seconds: round(run.ms / 1000, 1),
      ...seen,
    })),
  },
});
process.exit();
