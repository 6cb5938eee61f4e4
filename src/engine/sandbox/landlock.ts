import { readdirSync } from 'node:fs';
import { descriptorOf } from './handed-file.ts';
import { type GuardedSandbox, inDirectory } from './in-directory.ts';
import { etcFiles, systemDirectories } from './inside.ts';
import type { Interpreters } from './interpreters.ts';
import { asSameUser, withoutNamespaces } from './landlock-syscalls.ts';
import type { Limits } from './limits.ts';
import type { Machine } from './machine.ts';
import { makerArguments } from './maker.ts';
import { type Architecture, seccompFilter } from './seccomp.ts';

/** What stands between code and this machine where it refuses namespaces; whose processes they are says a great deal. */
export const landlockIsolation = ({ uid }: Machine, limited = '') =>
  'Landlock rules for files, signals and ports with a system-call filter, ' +
  `as ${uid === 0 ? 'an unprivileged user' : 'the user of this server'}, and no network at all; ` +
  'without namespaces, which this machine refuses: code sees of a path outside whether it exists, its size and date and ' +
  'where a link leads, but not what is in it, ' +
  '/workspace and /tmp are known to the tools alone while code uses its working directory and TMPDIR, ' +
  'there is no /proc, no terminal and no shared memory, what stops one run stops all that run in the sandbox, ' +
  'the cap on its files is checked by looking, twice a second at most, which deleted or moving files may escape until ' +
  'the disk is nearly full, and files cannot be given another date' +
  (uid === 0 ? '' : ', owner or mode, and its processes are counted together with all others of the user') +
  `${limited}; the kernel is shared with this machine.`;

type LandlockOptions = {
  machine: Machine;
  architecture: Architecture;
  interpreters: Interpreters;
  limits: Limits;
  /** Which user it is where the server is root. */
  uid: number;
  agentConfig: { rlimits: Readonly<Record<string, number>> };
};

/** The command of a sandbox in a directory of its own, which the command makes and takes away. */
export function landlockCommand(options: LandlockOptions): GuardedSandbox {
  const { machine, architecture, interpreters, limits, uid, agentConfig } = options;
  const isRoot = machine.uid === 0;
  // As root each sandbox is a user of its own; else all that the user runs counts, and this bounds a bomb at least.
  const NPROC = limits.processes + (isRoot ? 0 : countTasks(machine));
  const score = Number(descriptorOf('proc'));
  const sandbox = inDirectory({
    interpreters,
    limits,
    agentConfig: { ...agentConfig, rlimits: { ...agentConfig.rlimits, NPROC }, score },
  });
  const filter = seccompFilter(architecture, isRoot ? withoutNamespaces : asSameUser);
  const config = {
    ...sandbox.config,
    score,
    uid: isRoot ? uid : null,
    readable: ['/usr', ...systemDirectories, ...etcFiles.map((file) => `/etc/${file}`), ...sandbox.readable],
    seccomp: Buffer.from(filter).toString('base64'),
  };
  const args = makerArguments(['directory', 'rights', 'landlock'], JSON.stringify(config));
  return { ...sandbox, command: { file: interpreters.python.executable, args } };
}

/** Processes and threads of the user. */
function countTasks(machine: Machine): number {
  let count = 0;
  for (const name of readdirSync('/proc')) {
    const status = /^\d+$/.test(name) ? (machine.readText(`/proc/${name}/status`) ?? '') : '';
    if (Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]) === machine.uid)
      count += Number(/^Threads:\s+(\d+)/m.exec(status)?.[1]);
  }
  return count;
}
