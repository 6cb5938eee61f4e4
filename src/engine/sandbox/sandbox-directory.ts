import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { lstatSync, realpathSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { temporaryPrefix } from './leftovers.ts';

/** How the directories of sandboxes begin. */
export const SANDBOX_DIRECTORY_PREFIX = 'hopx-sandbox-';

/** The places of a sandbox that lies in a directory of this machine: what its code may write to, and what it may read. */
export type SandboxDirectory = {
  path: string;
  writable: readonly [workspace: string, tmp: string];
  readable: readonly string[];
};

/** A name for a directory that is not there yet. */
export function nameSandboxDirectory(): SandboxDirectory {
  const name = temporaryPrefix(SANDBOX_DIRECTORY_PREFIX) + randomBytes(8).toString('hex');
  return placesOf(path.join(realpathSync(tmpdir()), name));
}

function placesOf(directory: string): SandboxDirectory {
  return {
    path: directory,
    writable: [`${directory}/workspace`, `${directory}/tmp`],
    readable: [`${directory}/agent`, `${directory}/bin`],
  };
}

/** Removes what a guard did not live to remove. */
export function removeSandboxDirectory(directory: string): void {
  const { writable, readable } = placesOf(directory);
  for (const place of writable) {
    const owner = lstatSync(place, { throwIfNoEntry: false })?.uid ?? 0;
    // Code that still runs could lead root astray; with its own rights it leads nobody anywhere.
    const identity = process.getuid?.() === 0 ? { uid: owner, gid: owner } : {};
    if (owner !== 0) spawnSync('/bin/rm', ['-rf', '--', place], { ...identity, stdio: 'ignore' });
  }
  try {
    for (const place of readable) rmSync(place, { recursive: true, force: true });
    for (const place of [...writable, directory])
      if (lstatSync(place, { throwIfNoEntry: false })) rmdirSync(place);
  } catch {
    // Of use to nobody, and in nobody's way.
  }
}
