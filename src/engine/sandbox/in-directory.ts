import { watchDisk } from './disk-watch.ts';
import { agentModules } from './guest-modules.ts';
import { descriptorOf } from './handed-file.ts';
import { environment } from './inside.ts';
import { commandsOf, type Interpreters } from './interpreters.ts';
import type { Limits } from './limits.ts';
import { nameSandboxDirectory, removeSandboxDirectory } from './sandbox-directory.ts';
import type { Watchdog } from './watchdog.ts';

type Options = {
  interpreters: Interpreters;
  limits: Limits;
  agentConfig: { rlimits: Readonly<Record<string, number>>; guard?: number; score?: number };
};

/** A sandbox that lives in a directory of this machine, for want of a file system of its own, and has a guard outside. */
export function inDirectory({ interpreters, limits, agentConfig }: Options) {
  const { python, node, goRoot } = interpreters;
  const directory = nameSandboxDirectory();
  const [workspace, tmp] = directory.writable;
  const searchPath = [`${directory.path}/bin`, '/usr/local/bin', '/usr/bin', '/bin'];
  if (goRoot !== undefined) searchPath.push(`${goRoot}/bin`);
  const agent = {
    ...agentConfig,
    places: directory.writable,
    commands: commandsOf(interpreters, limits.memoryBytes, node),
  };
  const found = [python.prefix, node, goRoot].filter((place) => place !== undefined);
  return {
    directory: directory.path,
    writable: directory.writable,
    /** Of its own and of the interpreters. */
    readable: [...found, ...directory.readable],
    /** What its guard is told; src/engine/guest/directory.py fills the directory by it. */
    config: {
      server: process.pid,
      directory: directory.path,
      places: directory.writable,
      modules: Object.fromEntries(agentModules.map((module) => [module, Number(descriptorOf(module))])),
      links: { python3: python.executable, python: python.executable, ...(node !== undefined && { node }) },
      environment: environment(searchPath, workspace, tmp),
      command: [python.executable, '-S', `${directory.path}/agent/agent.pyc`, JSON.stringify(agent)],
    },
    /** The watchdog, with an eye on the disk. */
    watchDisk(watchdog: Watchdog, rootPid: number, onOverLimit: () => void): Watchdog {
      const maxBytes = limits.workspaceBytes + limits.tmpBytes;
      const places = directory.writable;
      const stopWatching = watchDisk({ places, maxBytes, maxFiles: limits.files, rootPid, onOverLimit });
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

/** One that a launcher starts. */
export type GuardedSandbox = Pick<ReturnType<typeof inDirectory>, 'watchDisk' | 'remove'> & {
  command: { file: string; args: readonly string[] };
  /** How many of its processes were killed for their memory by others than the watchdog. */
  memoryKills?: () => number;
};
