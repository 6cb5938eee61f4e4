import { expect, test } from 'vitest';
import { createSandboxUids, uidsOfProcesses } from '../../../src/engine/sandbox/sandbox-uids.ts';

test('no two sandboxes have the same uid, nor one that a process of another server has', () => {
  const uids = createSandboxUids(0);
  const taken = new Set([0, 61_001]);
  expect([uids.take(taken), uids.take(taken)]).toEqual([61_000, 61_002]);
  uids.giveBack(61_000);
  const others = Array.from({ length: 182 }, () => uids.take(taken));
  expect(new Set(others).size).toBe(182);
  expect(others).toContain(61_000);
  expect(others).not.toContain(61_001);
  expect(() => uids.take(taken)).toThrow('all 184 users that sandboxes can be are taken');
});

test('those of what runs here are known', () => {
  expect(uidsOfProcesses()).toContain(process.getuid?.());
});
