import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSocketDirectory, removeLeftovers } from '../../src/engine/socket-directory.ts';

/** Above the kernel's largest pid (2^22), so never that of a process. */
const DEAD_PID = 4_194_305;

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'leftovers-'));
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

function leave(name: string): string {
  const directory = join(parent, name);
  mkdirSync(directory);
  writeFileSync(join(directory, 'engine.sock'), '');
  return directory;
}

test('a directory carries the pid of its server and goes with remove', async () => {
  const { socketPath, remove } = await createSocketDirectory(parent);
  expect(basename(dirname(socketPath))).toMatch(new RegExp(`^hopx-engine-${process.pid}-\\w{6}$`));
  await remove();
  await remove();
  expect(readdirSync(parent)).toEqual([]);
});

test('leftovers of dead servers go; everything else stays', async () => {
  const dead = leave(`hopx-engine-${DEAD_PID}-abcDEF`);
  const stays = [
    leave(`hopx-engine-${process.pid}-abcDEF`),
    leave(`hopx-engine-${process.ppid}-abcDEF`),
    leave(`hopx-engine-${DEAD_PID}`),
    leave(`hopx-engine-${DEAD_PID}-abcDEF-mine`),
    leave(`other-${DEAD_PID}-abcDEF`),
  ];
  const link = join(parent, `hopx-engine-${DEAD_PID}-linked`);
  const target = stays[0] ?? '';
  symlinkSync(target, link);
  await removeLeftovers(parent);
  expect(existsSync(dead)).toBe(false);
  expect(stays.filter((directory) => !existsSync(join(directory, 'engine.sock')))).toEqual([]);
  expect(existsSync(link)).toBe(true);
});

test('a socket that answers stays, whatever its pid: its server may be in another container', async () => {
  const directory = join(parent, `hopx-engine-${DEAD_PID}-abcDEF`);
  mkdirSync(directory);
  const server = createServer((socket) => socket.end()).listen(join(directory, 'engine.sock'));
  await once(server, 'listening');
  await removeLeftovers(parent);
  expect(existsSync(join(directory, 'engine.sock'))).toBe(true);
  server.close();
});

test('a temporary directory with too long a path is refused by name, and left clean', async () => {
  const long = join(parent, 'x'.repeat(80));
  mkdirSync(long);
  await expect(createSocketDirectory(long)).rejects.toMatchObject({
    code: 'ENGINE_UNAVAILABLE',
    facts: { remediation: expect.stringContaining('TMPDIR') },
  });
  expect(readdirSync(long)).toEqual([]);
});
