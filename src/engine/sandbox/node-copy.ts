import { chmodSync, constants, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export type NodeCopy = { file: string; remove(): void };

/** How the directories of copies begin, before the pid of the server. */
export const NODE_COPY_PREFIX = 'hopx-node-';

/** A copy of the Node binary that every uid can read, for a server whose own lies in a private home; some 100 MB. */
export function copyNode(execPath: string): NodeCopy {
  const directory = mkdtempSync(path.join(tmpdir(), `${NODE_COPY_PREFIX}${process.pid}-`));
  const file = path.join(directory, 'node');
  copyFileSync(execPath, file, constants.COPYFILE_FICLONE);
  chmodSync(file, 0o755);
  chmodSync(directory, 0o755);
  return { file, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
