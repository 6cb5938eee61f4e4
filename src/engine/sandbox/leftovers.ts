import { lstatSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const removeWhole = (directory: string) => rmSync(directory, { recursive: true, force: true });

/** Removes temporary directories of this user's servers that died without doing it; their names are the prefix, the pid, and more. */
export function reapLeftovers(prefix: string, remove: (directory: string) => void = removeWhole): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = Number(new RegExp(`^${prefix}(\\d+)-`).exec(name)?.[1]);
    const directory = path.join(tmpdir(), name);
    if (!(owner > 0) || isAlive(owner) || !isOurs(directory)) continue;
    try {
      remove(directory);
    } catch {
      // Of use to nobody, and in nobody's way.
    }
  }
}

function isOurs(directory: string): boolean {
  const status = lstatSync(directory, { throwIfNoEntry: false });
  return status?.isDirectory() === true && status.uid === process.getuid?.();
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
