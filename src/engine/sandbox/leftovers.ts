import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

const removeWhole = (directory: string) => rm(directory, { recursive: true, force: true });

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

/** Removes temporary directories of this user's servers that died without doing it; resolves when they are gone. */
export async function reapLeftovers(
  prefix: string,
  remove: (directory: string) => Promise<void> = removeWhole,
): Promise<void> {
  const pattern = new RegExp(`^${temporaryPrefix(prefix, '(\\d+)')}`);
  const left = readdirSync(tmpdir()).flatMap((name) => {
    const owner = Number(pattern.exec(name)?.[1]);
    const directory = path.join(tmpdir(), name);
    return owner > 0 && !isAlive(owner) && isOurs(directory) ? [directory] : [];
  });
  // One that cannot be removed is of use to nobody, and in nobody's way.
  await Promise.allSettled(left.map(remove));
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
