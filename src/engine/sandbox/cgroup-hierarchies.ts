import { accessSync, constants, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Machine } from './machine.ts';

/** What sandboxes are limited in, in the order in which it is told. */
export const controllers = ['memory', 'pids', 'cpu'] as const;
export type Controller = (typeof controllers)[number];

/** A cgroup in which this server may make others, and what can be limited there. */
export type Hierarchy = { version: 1 | 2; directory: string; controllers: readonly Controller[] };

type Mount = { version: 1 | 2; root: string; place: string; options: readonly string[] };

/** Where cgroups can be made without moving any process but sandboxes; empty where the machine or its rights say no. */
export function findHierarchies(machine: Pick<Machine, 'readText'>): Hierarchy[] {
  const own = ownPaths(machine.readText('/proc/self/cgroup') ?? '');
  const mounts = cgroupMounts(machine.readText('/proc/self/mountinfo') ?? '');
  const found: Hierarchy[] = [];
  for (const controller of controllers) {
    const mount = mounts.find(({ version, options }) => version === 1 && options.includes(controller));
    const directory = mount && below(mount, own.get(controller));
    if (directory === undefined || !isOurs(directory)) continue;
    const same = found.findIndex((hierarchy) => hierarchy.directory === directory);
    const before = found[same]?.controllers ?? [];
    const hierarchy: Hierarchy = { version: 1, directory, controllers: [...before, controller] };
    found.splice(same === -1 ? found.length : same, 1, hierarchy);
  }
  const missing = controllers.filter(
    (name) => !found.some((hierarchy) => hierarchy.controllers.includes(name)),
  );
  const unified = mounts.find(({ version }) => version === 2);
  const hierarchy = unified && findUnified(machine, unified, below(unified, own.get('')), missing);
  return hierarchy === undefined ? found : [...found, hierarchy];
}

/**
 * Version 2 lets no cgroup have both processes and limited children, so that the server's own will not do, unless it
 * is the root. The nearest above it is taken that has them already.
 */
function findUnified(
  { readText }: Pick<Machine, 'readText'>,
  mount: Mount,
  own: string | undefined,
  wanted: readonly Controller[],
): Hierarchy | undefined {
  const words = (file: string) => (readText(file) ?? '').trim().split(/\s+/);
  const enabled = (directory: string) => {
    const names = words(path.join(directory, 'cgroup.subtree_control'));
    return wanted.filter((name) => names.includes(name));
  };
  if (own === mount.place) for (const name of wanted) enable(own, name);
  for (let directory = own; directory !== undefined; directory = path.dirname(directory)) {
    const has = enabled(directory);
    if (has.length > 0 && isOurs(directory)) return { version: 2, directory, controllers: has };
    // What limits the server is to limit its sandboxes, too.
    const limits = ['memory.max', 'cpu.max'].map((file) => words(path.join(directory, file))[0]);
    if (directory === mount.place || limits.some((limit) => limit !== '' && limit !== 'max')) break;
  }
  return undefined;
}

function enable(directory: string, controller: Controller): void {
  try {
    writeFileSync(path.join(directory, 'cgroup.subtree_control'), `+${controller}`);
  } catch {
    // Not the true root, not there, or not allowed.
  }
}

/** Whether children can be made there, and processes be moved from there into them. */
function isOurs(directory: string): boolean {
  try {
    accessSync(directory, constants.R_OK | constants.W_OK);
    accessSync(path.join(directory, 'cgroup.procs'), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The server's own cgroup by controller; `''` is that of version 2. */
function ownPaths(text: string): Map<string, string> {
  const lines = text.matchAll(/^\d+:([^:]*):(.*)$/gm);
  return new Map(
    [...lines].flatMap(([, names = '', place = '']) =>
      names.split(',').map((name) => [name, place] as const),
    ),
  );
}

/** Of /proc/self/mountinfo: `33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu`. */
function cgroupMounts(text: string): Mount[] {
  const lines = text.matchAll(/^\S+ \S+ \S+ (\S+) (\S+) .*? - cgroup(2?) \S+ (\S+)$/gm);
  return [...lines].map(([, root = '', place = '', two, options = '']) => ({
    ...{ version: two === '2' ? 2 : 1, root, place, options: options.split(',') },
  }));
}

/** Where a cgroup lies in a mount that may show only a part of the hierarchy. */
function below({ root, place }: Mount, cgroup: string | undefined): string | undefined {
  if (cgroup === undefined || cgroup.includes('/..')) return undefined;
  const relative = path.relative(root, cgroup);
  return relative.startsWith('..') ? undefined : path.join(place, relative);
}
