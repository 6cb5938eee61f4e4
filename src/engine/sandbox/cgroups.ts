import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { type Cgroup, type CgroupLimits, createCgroup } from './cgroup.ts';
import { type Controller, controllers, findHierarchies } from './cgroup-hierarchies.ts';
import type { Machine } from './machine.ts';
import { statOf } from './process-tree.ts';

export type Cgroups = {
  limited: readonly Controller[];
  versions: readonly (1 | 2)[];
  /** Begins to hold a sandbox whose first process this is. */
  confine(rootPid: number): Cgroup;
};

const limitedThings = {
  memory: 'memory',
  pids: 'processes',
  cpu: 'the share of CPU',
} as const satisfies Record<Controller, string>;

/** What they are to the isolation of a sandbox, as a part of that sentence. */
export function limitedBy(cgroups: Cgroups | undefined): string {
  if (cgroups === undefined) return '; without cgroup limits';
  const things = cgroups.limited.map((name) => limitedThings[name]);
  const versions = cgroups.versions.map((version) => `v${version}`).join(' and ');
  return `; with cgroup limits on ${things.join(', ').replace(/, (?=[^,]*$)/, ' and ')} (${versions})`;
}

const PREFIX = 'hopx';

/** Finds by a trial whether this server may make cgroups; undefined where it may not. */
export async function openCgroups(machine: Machine, limits: CgroupLimits): Promise<Cgroups | undefined> {
  const hierarchies = findHierarchies(machine);
  for (const { directory } of hierarchies) reap(directory);
  const server = `${PREFIX}-${process.pid}-${startOf(process.pid)}`;
  const confine = (rootPid: number) =>
    createCgroup(`${server}-${randomBytes(6).toString('hex')}`, rootPid, hierarchies, limits);
  if (hierarchies.length === 0 || !(await works(confine))) return undefined;
  return {
    limited: controllers.filter((name) => hierarchies.some((each) => each.controllers.includes(name))),
    versions: [...new Set(hierarchies.map(({ version }) => version))],
    confine,
  };
}

async function works(confine: Cgroups['confine']): Promise<boolean> {
  const child = spawn('/bin/sh', ['-c', 'read _'], { stdio: ['pipe', 'ignore', 'ignore'] });
  const closed = once(child, 'close').catch(() => {});
  if (child.pid === undefined) return false;
  const cgroup = confine(child.pid);
  try {
    await cgroup.hold();
    return true;
  } catch {
    return false;
  } finally {
    child.kill('SIGKILL');
    await closed;
    await cgroup.remove();
  }
}

/** Removes what servers that were killed have left; the kernel refuses where a process is. */
function reap(directory: string): void {
  for (const name of readdirSync(directory)) {
    const [, pid, start] = new RegExp(`^${PREFIX}-(\\d+)-(\\d+)-`).exec(name) ?? [];
    if (pid === undefined || startOf(Number(pid)) === start) continue;
    try {
      rmdirSync(path.join(directory, name));
    } catch {
      // Still in use, or another server was faster.
    }
  }
}

/** When a process started, in ticks since the machine did: with its number, what no other process has. */
const startOf = (pid: number) => statOf(pid)[19];
