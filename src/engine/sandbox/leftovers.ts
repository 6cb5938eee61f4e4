import { lstatSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const removeWhole = (directory: string) => rmSync(directory, { recursive: true, force: true });

/** How the name of a temporary directory begins that belongs to a server, by its pid and by what numbers that. */
export function temporaryPrefix(prefix: string, pid: number | string = process.pid): string {
  return `${prefix}${pid}-${pidNamespace()}-`;
}

/** Servers in containers that share the directory may have the pids of others. */
function pidNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '';
  } catch {
    return '';
  }
}

/** Removes temporary directories of this user's servers that died without doing it. */
export function reapLeftovers(prefix: string, remove: (directory: string) => void = removeWhole): void {
  const pattern = new RegExp(`^${temporaryPrefix(prefix, '(\\d+)')}`);
  for (const name of readdirSync(tmpdir())) {
    const owner = Number(pattern.exec(name)?.[1]);
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
