import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { reapLeftovers, temporaryPrefix } from '../../../src/engine/sandbox/leftovers.ts';
import {
  removeSandboxDirectory,
  SANDBOX_DIRECTORY_PREFIX,
} from '../../../src/engine/sandbox/sandbox-directory.ts';

const isRoot = process.getuid?.() === 0;

/** Of a server whose pid is above the largest there can be. */
function leftover(name: string): string {
  const prefix = temporaryPrefix(SANDBOX_DIRECTORY_PREFIX, 2 ** 22 + 1);
  const directory = path.join(tmpdir(), `${prefix}${name}-${process.pid}`);
  mkdirSync(directory);
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test('what a dead server left is removed, also what its guard had begun to remove', async () => {
  const left = leftover('begun');
  mkdirSync(`${left}/agent`);
  writeFileSync(`${left}/agent/agent.pyc`, '');
  for (const name of ['workspace', 'tmp', '.3']) {
    mkdirSync(`${left}/${name}/shut`, { recursive: true });
    writeFileSync(`${left}/${name}/shut/file`, '');
    symlinkSync('/usr', `${left}/${name}/link`);
    if (!isRoot) continue;
    for (const place of ['shut/file', 'shut', '.']) chownSync(path.join(left, name, place), 61_000, 61_000);
  }
  await reapLeftovers(SANDBOX_DIRECTORY_PREFIX, removeSandboxDirectory);
  expect(existsSync(left)).toBe(false);
  expect(existsSync('/usr/bin/env')).toBe(true);
});

test.runIf(isRoot)('root takes away what is its own only where code could not have put it', async () => {
  const left = leftover('of-root');
  mkdirSync(`${left}/workspace/deep`, { recursive: true });
  mkdirSync(`${left}/agent`);
  await reapLeftovers(SANDBOX_DIRECTORY_PREFIX, removeSandboxDirectory);
  expect(readdirSync(left)).toEqual(['workspace']);
  expect(lstatSync(`${left}/workspace/deep`).isDirectory()).toBe(true);
});
