import { rungs } from '../../../src/engine/sandbox/bubblewrap.ts';
import { openLauncher } from '../../../src/engine/sandbox/launcher.ts';

// Starts a process that sleeps for argv[2] seconds in a sandbox made by argv[3], tells which descriptors it was given, and waits.
const launcher = await openLauncher({ rungs: rungs.filter(({ madeBy }) => madeBy === process.argv[3]) });
const sandbox = await launcher.launch({ id: 'a', internetAccess: false });
const code = `sleep ${process.argv[2]} & cd /proc/self/fd; echo descriptors: *`;
const { stdout } = await sandbox.run({ runId: 'a', language: 'bash', code, timeoutMs: 10_000, env: {} });
process.stdout.write(stdout);
setInterval(() => {}, 1000);
