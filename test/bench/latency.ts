import { median, quantile } from './support/measure.ts';
import { waysToSend } from './support/one-request.ts';
import { report } from './support/report.ts';
import { startServerProcess } from './support/server-process.ts';

const ROUNDS = 5_000;
const WARM_UP = 1_000;

const servers = startServerProcess();
const { url } = await servers.open({});
const { ways, close } = waysToSend(url, 8);

const timesUs = ways.map((): number[] => []);
for (let round = -WARM_UP; round < ROUNDS; round += 1) {
  // The one that comes after a slow one must not always be the same.
  for (let turn = 0; turn < ways.length; turn += 1) {
    const index = (turn + round + WARM_UP) % ways.length;
    const startedMs = performance.now();
    await ways[index]?.send('1');
    if (round >= 0) timesUs[index]?.push((performance.now() - startedMs) * 1000);
  }
}
await close();
servers.close();

const [bare = [], , ours = [], plainFetch = []] = timesUs;
const at = (times: readonly number[], share: number) => Math.round(quantile(times, share));
const added = (share: number) => at(ours, share) - at(bare, share);
report({
  bench: 'latency',
  table: [
    ['sequential POST', 'p50 us', 'p90 us', 'p99 us', 'added p50', 'added p99'],
    ...ways.map(({ name }, index) => {
      const times = timesUs[index] ?? [];
      const [p50, p90, p99] = [at(times, 0.5), at(times, 0.9), at(times, 0.99)];
      return [name, p50, p90, p99, p50 - at(bare, 0.5), p99 - at(bare, 0.99)];
    }),
  ],
  n: ROUNDS,
  median: median(ours),
  p99: quantile(ours, 0.99),
  unit: 'us',
  ratio: median(ours) / median(bare),
  baseline: 'undici request',
  targets: [
    { says: 'added latency p50', figure: added(0.5), target: 50, unit: 'us' },
    { says: 'added latency p99', figure: added(0.99), target: 400, unit: 'us' },
    {
      says: 'p50 in total, below plain fetch',
      figure: at(ours, 0.5),
      target: at(plainFetch, 0.5),
      unit: 'us',
    },
  ],
});
