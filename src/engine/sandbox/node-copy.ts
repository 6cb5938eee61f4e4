import { chmodSync, constants, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { temporaryPrefix } from './leftovers.ts';

export type NodeCopy = { file: string; remove(): void };

/** How the directories of copies begin. */
export const NODE_COPY_PREFIX = 'hopx-node-';

/** A copy of the Node binary that every uid can read, for a server whose own lies in a private home; some 100 MB. */
export function copyNode(execPath: string): NodeCopy {
  const directory = mkdtempSync(path.join(tmpdir(), temporaryPrefix(NODE_COPY_PREFIX)));
  const file = path.join(directory, 'node');
  copyFileSync(execPath, file, constants.COPYFILE_FICLONE);
  chmodSync(file, 0o755);
  chmodSync(directory, 0o755);
  return { file, remove: () => rmSync(directory, { recursive: true, force: true }) };
}
