import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** In this order: those that measure time alone first, while the machine is cool. */
const benches = [
  'latency',
  'engine',
  'throughput',
  'memory',
  'fairness',
  'forty',
  'leaks',
  'fleet',
  'faults',
  'goodput',
  'agent',
];

const args = process.argv.slice(2);
const wanted = args.filter((arg) => !arg.startsWith('--'));
const unknown = wanted.filter((name) => !benches.includes(name));
if (unknown.length > 0) {
  console.error(`No benchmark "${unknown.join('", "')}". There are: ${benches.join(', ')}.`);
  process.exit(2);
}
const flags = args.filter((arg) => arg.startsWith('--'));
// Each in a process of its own: what one leaves in the heap or the compiler is not the next one's.
for (const name of benches.filter((each) => wanted.length === 0 || wanted.includes(each))) {
  const file = fileURLToPath(new URL(`./${name}.mjs`, import.meta.url));
  const { status } = spawnSync(process.execPath, ['--expose-gc', file, ...flags], { stdio: 'inherit' });
  if (status !== 0) process.exitCode = 1;
}
