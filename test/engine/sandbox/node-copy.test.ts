import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { reapLeftovers } from '../../../src/engine/sandbox/leftovers.ts';
import { copyNode, NODE_COPY_PREFIX } from '../../../src/engine/sandbox/node-copy.ts';

test('a copy runs, is spared by other starts while its server lives, and goes away', () => {
  const copy = copyNode(process.execPath);
  expect(execFileSync(copy.file, ['-p', '6 * 7']).toString()).toBe('42\n');
  reapLeftovers(NODE_COPY_PREFIX);
  expect(existsSync(copy.file)).toBe(true);
  copy.remove();
  expect(existsSync(path.dirname(copy.file))).toBe(false);
});

test('what a dead server left is removed, and nothing else', () => {
  // Above the largest pid there can be.
  const left = path.join(tmpdir(), `hopx-node-${2 ** 22 + 1}-left`);
  const others = mkdtempSync(path.join(tmpdir(), 'hopx-nodes-of-others-'));
  mkdirSync(left);
  reapLeftovers(NODE_COPY_PREFIX);
  expect([existsSync(left), existsSync(others)]).toEqual([false, true]);
  rmSync(others, { recursive: true });
});
