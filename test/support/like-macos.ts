import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { guestModules, readGuestModules } from '../../src/engine/sandbox/guest-modules.ts';
import type { LauncherOptions } from '../../src/engine/sandbox/launcher.ts';
import { thisMachine } from '../../src/engine/sandbox/machine.ts';

// Of the working directory, as bundles lie elsewhere.
const folder = path.resolve('test/support/like-macos');

type Options = {
  /** What stands in for `sandbox-exec`, and for what the guard asks of macOS. */
  sandboxExec?: string;
  macosModule?: string;
};

/** What makes a launcher take this Linux for a Mac: only `sandbox-exec` and the calls of macOS are stood in for. */
export function likeMacos(options: Options = {}): LauncherOptions & { remove(): void } {
  const { sandboxExec = `${folder}/sandbox-exec` } = options;
  const { macosModule = readFileSync(`${folder}/macos.py`, 'utf8') } = options;
  const programs = mkdtempSync(path.join(tmpdir(), 'hopx-like-macos-'));
  symlinkSync('/usr/bin/python3', path.join(programs, 'python3'));
  symlinkSync(sandboxExec, path.join(programs, 'sandbox-exec'));
  return {
    machine: { ...thisMachine(), platform: 'darwin', uid: 501, searchPath: [programs] },
    readModules: () =>
      readGuestModules().map((source, index) => (guestModules[index] === 'macos' ? macosModule : source)),
    remove: () => rmSync(programs, { recursive: true }),
  };
}
