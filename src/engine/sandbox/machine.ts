import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import path from 'node:path';

/** What the launcher asks of the machine it runs on; tests bring machines that lack things. */
export type Machine = {
  platform: NodeJS.Platform;
  architecture: string;
  /** Kernel version, as `uname -r` has it. */
  release: string;
  uid: number;
  /** Directories of programs; the system's own first, as AppArmor's profile is for its bwrap. */
  searchPath: readonly string[];
  /** The Node binary that runs this server. */
  execPath: string;
  /** A small text file, or undefined where it cannot be read. */
  readText(file: string): string | undefined;
};

// The PATH of programs that are started from the Dock lacks them.
const macosDirectories = [
  ...['/opt/homebrew/bin', '/usr/local/bin', '/Library/Developer/CommandLineTools/usr/bin'],
  '/Applications/Xcode.app/Contents/Developer/usr/bin',
];

/** This machine. */
export function thisMachine(): Machine {
  return {
    platform: process.platform,
    architecture: process.arch,
    release: release(),
    uid: process.getuid?.() ?? -1,
    searchPath: [
      '/usr/bin',
      ...(process.env['PATH'] ?? '').split(':').filter(path.isAbsolute),
      ...(process.platform === 'darwin' ? macosDirectories : []),
    ],
    execPath: process.execPath,
    readText(file) {
      try {
        return readFileSync(file, 'utf8');
      } catch {
        return undefined;
      }
    },
  };
}

/** Where a program is on PATH. */
export function findProgram(machine: Machine, name: string): string | undefined {
  return machine.searchPath.map((directory) => path.join(directory, name)).find((file) => existsSync(file));
}
