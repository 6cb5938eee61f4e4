import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { realpathSync } from 'node:fs';
import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
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

/** Removes what a guard did not live to remove; resolves when that is done, or cannot be. */
export async function removeSandboxDirectory(directory: string): Promise<void> {
  const { readable } = placesOf(directory);
  try {
    for (const name of await readdir(directory)) {
      const place = path.join(directory, name);
      const { uid } = await lstat(place);
      if (uid !== 0) await removeAs(uid, place);
      else if (readable.includes(place)) await rm(place, { recursive: true });
      // Its owner can empty a directory, but not take it out of one that is another's.
      await rmdir(place).catch(() => {});
    }
    await rmdir(directory);
  } catch {
    // Of use to nobody, and in nobody's way.
  }
}

/** Code that still runs could lead root astray; with its own rights it leads nobody anywhere. */
async function removeAs(uid: number, place: string): Promise<void> {
  const identity = process.getuid?.() === 0 ? { uid, gid: uid } : {};
  const command = 'chmod -R u+rwx -- "$0"; rm -rf -- "$0"';
  await once(spawn('/bin/sh', ['-c', command, place], { ...identity, stdio: 'ignore' }), 'close');
}
