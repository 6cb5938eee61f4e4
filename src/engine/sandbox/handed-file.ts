import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { guestModules } from './guest-modules.ts';

/** Beside the modules: the system-call filter, and what stands in for files of the machine. */
export const handedFiles = ['seccomp', 'passwd', 'group', 'hosts'] as const;

const handedNames = [...guestModules, ...handedFiles, 'proc'] as const;

export type HandedName = (typeof handedNames)[number];

/** Which descriptor it is to the command that makes a sandbox: the first is 3 of its `stdio`, and so on. */
export const descriptorOf = (name: HandedName) => `${3 + handedNames.indexOf(name)}`;

/** Bytes that a child process gets as a file descriptor, without being able to read a path of ours. */
export type HandedFile = {
  /** A fresh descriptor at the beginning of the file; whoever asked closes it. */
  open(): number;
  close(): void;
};

/** The machine's own /proc: by it the agent opens its own score for when memory runs out, and lets go of it before any code runs. */
export const machineProc: HandedFile = { open: () => openSync('/proc', 'r'), close() {} };

const DESCRIPTORS = process.platform === 'linux' ? '/proc/self/fd' : '/dev/fd';

/** Keeps the bytes in a file that has no name any more, so nothing is left behind however this process ends. */
export function createHandedFile(bytes: Uint8Array): HandedFile {
  const directory = mkdtempSync(path.join(tmpdir(), 'hopx-handed-'));
  const file = path.join(directory, 'bytes');
  writeFileSync(file, bytes, { mode: 0o400 });
  const held = openSync(file, 'r');
  rmSync(directory, { recursive: true });
  return {
    // On macOS it shares its position with the others; whoever gets one there does not read on from where it stands.
    open: () => openSync(`${DESCRIPTORS}/${held}`, 'r'),
    close: () => closeSync(held),
  };
}
