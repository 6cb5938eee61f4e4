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

/** Far below what a command line can hold; a guard may have left a hundred thousand directories side by side. */
const AT_ONCE = 1000;

/** Removes what a guard did not live to remove; resolves when that is done, or cannot be. */
export async function removeSandboxDirectory(directory: string): Promise<void> {
  const { readable } = placesOf(directory);
  try {
    const places = (await readdir(directory)).map((name) => path.join(directory, name));
    for (let first = 0; first < places.length; first += AT_ONCE) {
      const some = places.slice(first, first + AT_ONCE);
      const uids = await Promise.all(some.map(async (place) => (await lstat(place)).uid));
      for (const uid of new Set(uids)) {
        const owned = some.filter((_place, index) => uids[index] === uid);
        if (uid !== 0) await removeAs(uid, owned);
        else for (const place of owned) if (readable.includes(place)) await rm(place, { recursive: true });
      }
      // Its owner can empty a directory, but not take it out of one that is another's.
      await Promise.all(some.map((place) => rmdir(place).catch(() => {})));
    }
    await rmdir(directory);
  } catch {
    // Of use to nobody, and in nobody's way.
  }
}

/** Code that still runs could lead root astray; with its own rights it leads nobody anywhere. */
async function removeAs(uid: number, places: readonly string[]): Promise<void> {
  const identity = process.getuid?.() === 0 ? { uid, gid: uid } : {};
  const command = 'chmod -R u+rwx -- "$@"; rm -rf -- "$@"';
  await once(spawn('/bin/sh', ['-c', command, 'sh', ...places], { ...identity, stdio: 'ignore' }), 'close');
}
