import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { reapLeftovers, temporaryPrefix } from '../../../src/engine/sandbox/leftovers.ts';
import { copyNode, NODE_COPY_PREFIX } from '../../../src/engine/sandbox/node-copy.ts';

test('a copy runs, is spared by other starts while its server lives, and goes away', async () => {
  const copy = copyNode(process.execPath);
  expect(execFileSync(copy.file, ['-p', '6 * 7']).toString()).toBe('42\n');
  await reapLeftovers(NODE_COPY_PREFIX);
  expect(existsSync(copy.file)).toBe(true);
  copy.remove();
  expect(existsSync(path.dirname(copy.file))).toBe(false);
});

test('what a dead server left is removed, and nothing else', async () => {
  // Above the largest pid there can be.
  const left = path.join(tmpdir(), `${temporaryPrefix(NODE_COPY_PREFIX, 2 ** 22 + 1)}left`);
  const others = [
    path.join(tmpdir(), 'hopx-nodes-of-others'),
    // Of a server that is numbered by another container.
    path.join(tmpdir(), `${NODE_COPY_PREFIX}${2 ** 22 + 1}-1-left`),
  ];
  for (const directory of [left, ...others]) mkdirSync(directory);
  await reapLeftovers(NODE_COPY_PREFIX);
  expect([left, ...others].map((directory) => existsSync(directory))).toEqual([false, true, true]);
  for (const directory of others) rmSync(directory, { recursive: true });
});
