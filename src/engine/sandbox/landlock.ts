import { readdirSync } from 'node:fs';
import { descriptorOf, environment, etc, systemDirectories } from './bubblewrap.ts';
import { watchDisk } from './disk-watch.ts';
import { guestModules } from './guest-modules.ts';
import { commandsOf, type Interpreters } from './interpreters.ts';
import { asSameUser, withoutNamespaces } from './landlock-syscalls.ts';
import type { Limits } from './limits.ts';
import type { Machine } from './machine.ts';
import { nameSandboxDirectory, removeSandboxDirectory } from './sandbox-directory.ts';
import { type Architecture, seccompFilter } from './seccomp.ts';
import type { Watchdog } from './watchdog.ts';

/** What stands between code and this machine where it refuses namespaces; whose processes they are says a great deal. */
export const landlockIsolation = ({ uid }: Machine, limited = '') =>
  'Landlock rules for files, signals and ports with a system-call filter, ' +
  `as ${uid === 0 ? 'an unprivileged user' : 'the user of this server'}, and no network at all; ` +
  'without namespaces, which this machine refuses: code sees which files exist outside but not what is in them, ' +
  '/workspace and /tmp are known to the tools alone while code uses its working directory and TMPDIR, ' +
  'there is no /proc, no terminal and no shared memory, what stops one run stops all that run in the sandbox, ' +
  'the cap on its files is checked twice a second, and files cannot be given another date' +
  (uid === 0 ? '' : ', owner or mode, and its processes are counted together with all others of the user') +
  `${limited}; the kernel is shared with this machine.`;

type LandlockOptions = {
  machine: Machine;
  architecture: Architecture;
  interpreters: Interpreters;
  limits: Limits;
  /** What its processes are to a machine whose root starts them. */
  uid: number;
  agentConfig: { rlimits: Readonly<Record<string, number>> };
};

/** The command of a sandbox in a directory of its own, which the command makes and takes away. */
export function landlockCommand(options: LandlockOptions) {
  const { machine, architecture, interpreters, limits, uid, agentConfig } = options;
  const { python, node, goRoot } = interpreters;
  const isRoot = machine.uid === 0;
  const directory = nameSandboxDirectory();
  const [workspace, tmp] = directory.writable;
  const searchPath = [`${directory.path}/bin`, '/usr/local/bin', '/usr/bin', '/bin'];
  if (goRoot !== undefined) searchPath.push(`${goRoot}/bin`);
  const agent = {
    ...agentConfig,
    places: directory.writable,
    commands: commandsOf(interpreters, limits.memoryBytes, node),
    rlimits: {
      ...agentConfig.rlimits,
      // As root each sandbox is a user of its own; else all that the user runs counts, and this bounds a bomb at least.
      NPROC: limits.processes + (isRoot ? 0 : countTasks(machine)),
    },
  };
  const found = [python.prefix, node, goRoot].filter((place) => place !== undefined);
  const config = {
    server: process.pid,
    uid: isRoot ? uid : null,
    directory: directory.path,
    places: directory.writable,
    modules: Object.fromEntries(guestModules.map((module) => [module, Number(descriptorOf(module))])),
    links: { python3: python.executable, python: python.executable, ...(node !== undefined && { node }) },
    readable: [
      ...['/usr', ...systemDirectories, ...etc.map((file) => `/etc/${file}`)],
      ...[...found, ...directory.readable],
    ],
    seccomp: Buffer.from(seccompFilter(architecture, isRoot ? withoutNamespaces : asSameUser)).toString(
      'base64',
    ),
    environment: environment(searchPath, workspace, tmp),
    command: [python.executable, '-S', `${directory.path}/agent/agent.pyc`, JSON.stringify(agent)],
  };
  const load = `import marshal, os; exec(marshal.loads(os.pread(${descriptorOf('landlock')}, 1 << 20, 16)))`;
  return {
    command: { file: python.executable, args: ['-S', '-I', '-c', load, JSON.stringify(config)] },
    /** The watchdog, with an eye on the disk. */
    watchDisk(watchdog: Watchdog, onOverLimit: () => void): Watchdog {
      const maxBytes = limits.workspaceBytes + limits.tmpBytes;
      const places = directory.writable;
      const stopWatching = watchDisk({ places, maxBytes, maxFiles: limits.files, onOverLimit });
      return {
        ...watchdog,
        stop() {
          watchdog.stop();
          stopWatching();
        },
      };
    },
    /** Does what the guard did not live to do. */
    remove: () => removeSandboxDirectory(directory.path),
  };
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
