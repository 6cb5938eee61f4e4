import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { watchDisk } from '../../../src/engine/sandbox/disk-watch.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
type Watch = Partial<Parameters<typeof watchDisk>[0]>;

/** A directory that may hold 1 MiB, and what was said of it. */
function watched(options: Watch = {}) {
  const place = mkdtempSync(path.join(tmpdir(), 'hopx-disk-'));
  const onOverLimit = vi.fn();
  const start = () => {
    const limits = { places: [place] as const, maxBytes: MIB, maxFiles: 100 };
    onTestFinished(watchDisk({ ...limits, onOverLimit, pollMs: 5, ...options }));
  };
  onTestFinished(() => rmSync(place, { recursive: true, maxRetries: 10 }));
  return {
    place,
    onOverLimit,
    start,
    isEnded: () => expect.poll(() => onOverLimit.mock.calls.length, { timeout: 15_000 }).toBe(1),
  };
}

/** Many polls, each with a look. */
const aWhile = () => new Promise((resolve) => setTimeout(resolve, 300));

async function python(cwd: string, code: string) {
  const child = spawn('/usr/bin/python3', ['-c', code], { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await once(child, 'close');
  });
  await once(child.stdout, 'data');
}

const write = (place: string, bytes: number) =>
  writeFileSync(path.join(place, 'file'), Buffer.alloc(bytes, 1));

test.each([
  { says: 'bytes', fill: (place: string) => write(place, 2 * MIB) },
  {
    says: 'bytes far below',
    fill: (place: string) => {
      mkdirSync(path.join(place, 'a/b/c'), { recursive: true });
      write(path.join(place, 'a/b/c'), 2 * MIB);
    },
  },
  {
    says: 'directories',
    fill: (place: string) => {
      for (let n = 0; n < 101; n++) mkdirSync(path.join(place, `${n}`));
    },
  },
])('says once that there are too many $says', async ({ fill }) => {
  const { place, start, isEnded, onOverLimit } = watched();
  start();
  await aWhile();
  expect(onOverLimit).not.toHaveBeenCalled();
  fill(place);
  await isEnded();
  await aWhile();
  await isEnded();
});

test('finds what was deleted and is still open', async () => {
  const { place, start, isEnded } = watched({ rootPid: process.pid });
  await python(
    place,
    'import os, time\nf = open("x", "wb", 0)\nos.unlink("x")\nf.write(bytes(2 << 20))\nprint(flush=True)\ntime.sleep(60)',
  );
  start();
  await isEnded();
});

// Whose size is not what tells.
const moving = `
import os
for n in range(20): os.mkdir(str(n))
print(flush=True)
n = 0
while True:
    os.rename(str(n), str(n + 20))
    n += 1
`;

/** A disk that others write to as well, by what is free on it. */
const losing = (bytes: number, freeBytes: number, options: Watch = {}) => {
  let free = freeBytes + bytes;
  const disk = watched({ freeBytes: async () => free, ...options });
  const lose = () => {
    free = freeBytes;
  };
  return { ...disk, lose };
};

test('finds what is moved on before it can be looked at, by what the disk lost', async () => {
  const { place, start, isEnded, onOverLimit, lose } = losing(3 * MIB, 100 * GIB);
  await python(place, moving);
  start();
  await aWhile();
  expect(onOverLimit).not.toHaveBeenCalled();
  lose();
  await isEnded();
});

test.each([
  { says: 'has room', lost: 3 * MIB, free: 100 * GIB, ended: 0 },
  { says: 'is nearly full', lost: 3 * MIB, free: GIB, ended: 1 },
  { says: 'was nearly full before', lost: MIB / 2, free: GIB, ended: 0 },
])('of what others may have written ends it only what is too much, when the disk $says', async (row) => {
  const { start, onOverLimit, lose } = losing(row.lost, row.free);
  start();
  await aWhile();
  lose();
  await aWhile();
  expect(onOverLimit).toHaveBeenCalledTimes(row.ended);
});

test('rests after a look, until the disk loses what was left', async () => {
  const { place, start, isEnded, onOverLimit, lose } = losing(MIB + 1, 100 * GIB, { restMs: () => 60_000 });
  start();
  await aWhile();
  write(place, 2 * MIB);
  await aWhile();
  expect(onOverLimit).not.toHaveBeenCalled();
  lose();
  await isEnded();
});
