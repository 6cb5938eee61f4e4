import { median } from './support/measure.ts';
import { waysToSend } from './support/one-request.ts';
import { report } from './support/report.ts';
import { startServerProcess } from './support/server-process.ts';

const IN_FLIGHT = 16;
const REQUESTS = 10_000;
const ROUNDS = 5;

const servers = startServerProcess();
const { url } = await servers.open({});
const { ways, close } = waysToSend(url, IN_FLIGHT);

async function perSecond(send: (code: string) => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  let left = REQUESTS;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      await send('1');
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return Math.round((REQUESTS / (performance.now() - startedMs)) * 1000);
}

const rates = ways.map((): number[] => []);
for (let round = -1; round < ROUNDS; round += 1) {
  for (const [index, { send }] of ways.entries()) {
    const rate = await perSecond(send);
    // The first round only warms up.
    if (round >= 0) rates[index]?.push(rate);
  }
}
await close();
servers.close();

const [bare = [], , ours = []] = rates;
report({
  bench: 'throughput',
  table: [
    [`${IN_FLIGHT} in flight`, 'requests/s, median', 'worst', 'best'],
    ...ways.map(({ name }, index) => {
      const all = rates[index] ?? [];
      return [name, median(all), Math.min(...all), Math.max(...all)];
    }),
  ],
  n: REQUESTS * ROUNDS,
  median: median(ours),
  p99: Math.min(...ours),
  unit: 'requests/s',
  ratio: median(ours) / median(bare),
  baseline: 'undici request',
  targets: [{ says: 'throughput', figure: median(ours), target: 15_000, unit: 'requests/s', least: true }],
  notes: ['p99 in the JSON line is the worst round.'],
});
