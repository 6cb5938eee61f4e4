import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Bytes that a child process gets as a file descriptor, without being able to read a path of ours. */
export type HandedFile = {
  /** A fresh descriptor at the beginning of the file; whoever asked closes it. */
  open(): number;
  close(): void;
};

/** Keeps the bytes in a file that has no name any more, so nothing is left behind however this process ends. */
export function createHandedFile(bytes: Uint8Array): HandedFile {
  const directory = mkdtempSync(path.join(tmpdir(), 'hopx-handed-'));
  const file = path.join(directory, 'bytes');
  writeFileSync(file, bytes, { mode: 0o400 });
  const held = openSync(file, 'r');
  rmSync(directory, { recursive: true });
  return {
    open: () => openSync(`/proc/self/fd/${held}`, 'r'),
    close: () => closeSync(held),
  };
}
