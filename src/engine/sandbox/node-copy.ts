import { chmodSync, constants, copyFileSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export type NodeCopy = { file: string; remove(): void };

const PREFIX = 'hopx-node-';

/** A copy of the Node binary that every uid can read, for a server whose own lies in a private home; some 100 MB. */
export function copyNode(execPath: string): NodeCopy {
  const directory = mkdtempSync(path.join(tmpdir(), `${PREFIX}${process.pid}-`));
  const file = path.join(directory, 'node');
  copyFileSync(execPath, file, constants.COPYFILE_FICLONE);
  chmodSync(file, 0o755);
  chmodSync(directory, 0o755);
  return { file, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** Removes the copies of servers that died without doing it. */
export function reapNodeCopies(): void {
  for (const name of readdirSync(tmpdir())) {
    const owner = Number(new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]);
    const directory = path.join(tmpdir(), name);
    if (owner > 0 && !isAlive(owner) && isOurs(directory))
      rmSync(directory, { recursive: true, force: true });
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
