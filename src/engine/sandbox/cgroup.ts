import { closeSync, openSync, readFileSync, write, writeFileSync } from 'node:fs';
import { mkdir, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Hierarchy } from './cgroup-hierarchies.ts';
import type { Limits } from './limits.ts';
import { descendants } from './process-tree.ts';

/** The kernel's own limits for one sandbox: all of its processes and files together. */
export type Cgroup = {
  /** Resolves once all its processes are held; those that they start from then on are as well. */
  hold(): Promise<void>;
  /** How many of its processes the kernel has killed because there was no memory left for them. */
  memoryKills(): number;
  /** Resolves once nothing is left of it, which takes the end of its processes. */
  remove(): Promise<void>;
};

export type CgroupLimits = Pick<
  Limits,
  'memoryBytes' | 'workspaceBytes' | 'tmpBytes' | 'sharedMemoryBytes' | 'processes'
>;

type Setting = { file: string; value: number; optional?: boolean };

/**
 * CPU time is not capped, which would leave cores idle: as a cgroup a sandbox has, with however many processes, one
 * share where others want some.
 */
function settings({ version, controllers }: Hierarchy, limits: CgroupLimits): Setting[] {
  const { memoryBytes, workspaceBytes, tmpBytes, sharedMemoryBytes, processes } = limits;
  // For the kernel files are memory as well. Processes have as much again as they may, for what it holds on their behalf,
  // and for the watchdog to come first: while the culprit's memory is given back, the kernel may end a bystander, too.
  const bytes = 2 * memoryBytes + workspaceBytes + tmpBytes + sharedMemoryBytes;
  const memory: Record<Hierarchy['version'], Setting[]> = {
    1: [
      { file: 'memory.limit_in_bytes', value: bytes },
      // With swap; some kernels do not count that.
      { file: 'memory.memsw.limit_in_bytes', value: bytes, optional: true },
    ],
    2: [
      { file: 'memory.max', value: bytes },
      { file: 'memory.swap.max', value: 0, optional: true },
    ],
  };
  return [
    ...(controllers.includes('memory') ? memory[version] : []),
    ...(controllers.includes('pids') ? [{ file: 'pids.max', value: processes }] : []),
  ];
}

const eventsFile = { 1: 'memory.oom_control', 2: 'memory.events' } as const;

/** From the end of the last process to the moment when the kernel lets go of the cgroup. */
const LONGEST_WAIT_MS = 1000;

/** Begins to hold a sandbox whose first process this is. */
export function createCgroup(
  name: string,
  rootPid: number,
  hierarchies: readonly Hierarchy[],
  limits: CgroupLimits,
): Cgroup {
  const groups = hierarchies.map((hierarchy) => ({
    hierarchy,
    directory: path.join(hierarchy.directory, name),
  }));
  const ofMemory = groups.find(({ hierarchy }) => hierarchy.controllers.includes('memory'));
  const moved = new Set<number>();
  const move = async (pid: number) => {
    moved.add(pid);
    for (const { directory } of groups) await moveInto(directory, pid);
  };
  const make = async () => {
    await Promise.all(groups.map(({ directory }) => mkdir(directory)));
    for (const { hierarchy, directory } of groups)
      for (const setting of settings(hierarchy, limits)) apply(directory, setting);
    // The first move in a while takes the kernel some 15 ms, in which the sandbox starts.
    await move(rootPid);
  };
  const made = make();
  // Whoever waits for it hears of it.
  made.catch(() => {});
  return {
    async hold() {
      await made;
      for (;;) {
        const pid = descendants(rootPid).find((each) => !moved.has(each));
        if (pid === undefined) return;
        await move(pid);
      }
    },
    memoryKills() {
      if (ofMemory === undefined) return 0;
      const file = path.join(ofMemory.directory, eventsFile[ofMemory.hierarchy.version]);
      return Number(/^oom_kill (\d+)$/m.exec(read(file))?.[1] ?? 0);
    },
    async remove() {
      await made.catch(() => {});
      await Promise.all(groups.map(({ directory }) => remove(directory)));
    },
  };
}

function apply(directory: string, { file, value, optional = false }: Setting): void {
  try {
    writeFileSync(path.join(directory, file), `${value}`);
  } catch (error) {
    if (!optional) throw error;
  }
}

const writeTo = promisify(write);

/** Not synchronous, as the kernel waits for all processors. A process that is gone needs no limits. */
async function moveInto(directory: string, pid: number): Promise<void> {
  const file = openSync(path.join(directory, 'cgroup.procs'), 'w');
  try {
    await writeTo(file, `${pid}`);
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error;
  } finally {
    closeSync(file);
  }
}

async function remove(directory: string): Promise<void> {
  for (let waitMs = 1; waitMs <= LONGEST_WAIT_MS; waitMs *= 2) {
    try {
      return await rmdir(directory);
    } catch (error) {
      if (codeOf(error) !== 'EBUSY') return;
    }
    await delay(waitMs);
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
