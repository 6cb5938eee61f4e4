import { setTimeout as delay } from 'node:timers/promises';
import { createGovernor } from '../../src/client/governor.ts';
import { createHopxClient } from '../../src/client/hopx-client.ts';
import { createLane } from '../../src/client/lane.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import { URGENT } from '../../src/client/operations.ts';
import { createTransport } from '../../src/client/transport.ts';
import { silentLog } from '../../src/log.ts';
import { newCall } from '../support/calls.ts';
import type { LimitedHopxOptions } from './support/limited-hopx.ts';
import { median, quantile, round } from './support/measure.ts';
import { report } from './support/report.ts';
import { type LimitedHopx, startServerProcess } from './support/server-process.ts';

const LIMIT = 30;
const WINDOW_MS = 3_000;
const FLOOD = 200;
const BUDGET_MS = 120_000;
const RESERVE_SHARE = 0.05;

type Kind = 'flood' | 'small' | 'delete';
type Send = (kind: Kind) => Promise<unknown>;
type Waits = Record<Kind, number[]> & { failed: number };

/** A floods, B sends one each half second, and now and then something is deleted; how long each waited. */
async function besideFlood(send: Send): Promise<Waits> {
  const waits: Waits = { flood: [], small: [], delete: [], failed: 0 };
  const timed = async (kind: Kind) => {
    const startedMs = performance.now();
    await send(kind).then(
      () => waits[kind].push(performance.now() - startedMs),
      () => {
        waits.failed += 1;
      },
    );
  };
  let isFlooded = true;
  const flood = Promise.all(Array.from({ length: FLOOD }, () => timed('flood'))).then(() => {
    isFlooded = false;
  });
  const others: Promise<void>[] = [];
  for (let tick = 0; isFlooded; tick += 1) {
    await Promise.race([delay(500), flood]);
    if (!isFlooded) break;
    others.push(timed('small'));
    if (tick % 8 === 3) others.push(timed('delete'));
  }
  await Promise.all(others);
  return waits;
}

/** Through the product's client, in which every sandbox has a lane of its own. */
async function throughClient({ url }: LimitedHopx): Promise<Waits> {
  const client = createHopxClient({
    baseUrl: url,
    apiKey: 'hopx_live_bench.key',
    rates: { ...unlimitedRates, agent: LIMIT, control: LIMIT, windowMs: WINDOW_MS },
    log: silentLog,
  });
  const call = () => newCall({ budgetMs: BUDGET_MS });
  const sends: Record<Kind, () => Promise<unknown>> = {
    flood: () => client.execute('A', { code: '1' }, call()),
    small: () => client.execute('B', { code: '1' }, call()),
    delete: () => client.deleteSandbox('C', call()),
  };
  const waits = await besideFlood((kind) => sends[kind]());
  await client.close();
  return waits;
}

/** All in one lane, where keys take turns and deletes have a band and a reserve of their own. */
async function throughOneLane({ url }: LimitedHopx): Promise<Waits> {
  const governor = createGovernor({ limit: LIMIT, windowMs: WINDOW_MS, reserveShare: RESERVE_SHARE });
  const lane = createLane({ governor, concurrency: 8 });
  const transport = createTransport();
  const { signal } = new AbortController();
  const send: Send = (kind) =>
    lane.attempt(
      {
        priority: kind === 'delete' ? URGENT : 0,
        key: kind,
        front: false,
        signal,
        deadlineMs: performance.now() + BUDGET_MS,
        progress() {},
      },
      async (sentMs) => {
        const reply = await transport.send({
          method: 'POST',
          origin: url,
          path: `/vms/${kind}/execute`,
          headers: { 'content-type': 'application/json' },
          body: '{"code":"1"}',
          timeoutMs: 5_000,
        });
        governor.onAnswer({ sentMs, counted: true });
        if (reply.kind !== 'reply' || reply.status !== 200) throw new Error('refused');
        governor.onSuccess();
      },
    );
  const waits = await besideFlood(send);
  lane.close();
  await transport.close();
  return waits;
}

type Case = { name: string; server: LimitedHopxOptions; run(hopx: LimitedHopx): Promise<Waits> };
const rate = { kind: 'fixed', limit: LIMIT, windowMs: WINDOW_MS } as const;
const cases: readonly Case[] = [
  { name: 'client, limit a sandbox (documented)', server: { rate, rateFor: 'sandbox' }, run: throughClient },
  { name: 'client, limit an account', server: { rate, rateFor: 'account' }, run: throughClient },
  { name: 'client, limit an account, headers', server: { rate, headers: true }, run: throughClient },
  { name: 'one lane for all', server: { rate, rateFor: 'account' }, run: throughOneLane },
];

const servers = startServerProcess();
const results = await Promise.all(
  cases.map(async ({ name, server, run }) => {
    const hopx = await servers.open(server);
    const waits = await run(hopx);
    return { name, waits, seen: await hopx.counts() };
  }),
);
servers.close();

const seconds = (ms: number) => round(ms / 1000, 2);
const [documented, , , oneLane] = results.map(({ waits }) => waits);
const small = oneLane?.small ?? [];
const p95 = (values: readonly number[] | undefined) => seconds(quantile(values ?? [], 0.95));
report({
  bench: 'fairness',
  table: [
    ['seconds waited', 'A p50', 'A max', 'B p50', 'B p95', 'delete p50', 'delete p95', '429s', 'failed'],
    ...results.map(({ name, waits, seen }) => [
      name,
      seconds(median(waits.flood)),
      seconds(quantile(waits.flood, 1)),
      seconds(median(waits.small)),
      seconds(quantile(waits.small, 0.95)),
      seconds(median(waits.delete)),
      seconds(quantile(waits.delete, 0.95)),
      seen.throttled,
      waits.failed,
    ]),
  ],
  n: small.length,
  median: seconds(median(small)),
  p99: seconds(quantile(small, 0.99)),
  unit: 's that B waited, one lane for all',
  ratio: median(small) / median(oneLane?.flood ?? []),
  baseline: 'A, in the same lane',
  targets: [
    { says: 'B p95, a lane each', figure: p95(documented?.small), target: WINDOW_MS / 1000, unit: 's' },
    { says: 'B p95, one lane', figure: p95(small), target: WINDOW_MS / 1000, unit: 's' },
    { says: 'delete p95, a lane each', figure: p95(documented?.delete), target: 0.1, unit: 's' },
    { says: 'delete p95, one lane', figure: p95(oneLane?.delete), target: 0.1, unit: 's' },
  ],
  notes: [
    'Every sandbox has a lane of its own, so where the limit is a sandbox, as documented, B never meets the flood.',
    'Were it an account, B would learn of it by being refused; one lane for all is what the queue itself can do.',
  ],
});
