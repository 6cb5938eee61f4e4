import { openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { rungs } from '../../../src/engine/sandbox/rungs.ts';
import { likeMacos } from '../../support/like-macos.ts';

// Starts a process that sleeps for argv[2] seconds in a sandbox made by argv[3], or by what works here,
// tells which descriptors it was given and what stands around it, and waits.
const [, , seconds, madeBy] = process.argv;
const launcher = await openLauncher(
  madeBy === 'seatbelt'
    ? likeMacos()
    : { rungs: rungs.filter((rung) => madeBy === undefined || rung.madeBy === madeBy) },
);
const sandbox = await launcher.launch({ id: 'a', internetAccess: false });
const listing = `
import os
def is_open(fd):
    try: return os.fstat(fd) is not None
    except OSError: return False
print("descriptors:", *filter(is_open, range(4096)))`;
const code = `(trap '' TERM HUP INT; exec setsid sleep ${seconds}) & python3 -c '${listing}'`;
const { stdout } = await sandbox.run({ runId: 'a', language: 'bash', code, timeoutMs: 10_000, env: {} });
process.stdout.write(`${stdout}${launcher.isolation}`);
setInterval(() => {}, 1000);
