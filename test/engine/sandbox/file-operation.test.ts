import { expect, test } from 'vitest';
import { request, useLauncher } from './sandbox-fixture.ts';

const { launch } = useLauncher();

test.each([
  { path: 'a.txt', lies: '/workspace/a.txt' },
  { path: '/workspace/deep/er/b.bin', lies: '/workspace/deep/er/b.bin' },
  { path: '/tmp/c', lies: '/tmp/c' },
  { path: '/workspace/x/../d', lies: '/workspace/d' },
])('writes and reads $path', async ({ path, lies }) => {
  const sandbox = await launch();
  const content = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 256));
  await sandbox.writeFile(path, content, { mode: 0o750 });
  expect(Buffer.from(await sandbox.readFile(path)).equals(content)).toBe(true);
  expect((await sandbox.run(request('bash', `stat -c '%s %a' ${lies}`))).stdout).toBe('1000 750\n');
});

test('carries large files whole, while runs go on', async () => {
  const sandbox = await launch();
  const content = Buffer.alloc(20 * 1024 * 1024 + 1, 'abcdefg');
  await sandbox.writeFile('large', content);
  const [read, run] = await Promise.all([
    sandbox.readFile('large'),
    sandbox.run(request('bash', 'md5sum < large')),
  ]);
  expect(Buffer.from(read).equals(content)).toBe(true);
  expect(run.exitCode).toBe(0);
});

test('replaces, or refuses to replace', async () => {
  const sandbox = await launch();
  await sandbox.writeFile('a', Buffer.from('first, longer'));
  await sandbox.writeFile('a', Buffer.from('second'));
  await expect(sandbox.writeFile('a', Buffer.from('third'), { overwrite: false })).rejects.toMatchObject({
    code: 'CONFLICT',
  });
  expect(Buffer.from(await sandbox.readFile('a')).toString()).toBe('second');
});

const prepare = `
ln -s /etc/passwd file-link
ln -s /etc directory-link
ln -s /proc/self/environ proc-link
ln -s / root-link
mkfifo fifo
mkdir directory
head -c 70000000 /dev/zero > huge
touch unreadable; chmod 0 unreadable
`;

test.each([
  { path: '/etc/passwd', code: 'FORBIDDEN' },
  { path: '/workspace/../etc/passwd', code: 'FORBIDDEN' },
  { path: '/workspacex/a', code: 'FORBIDDEN' },
  { path: '/proc/1/mem', code: 'FORBIDDEN' },
  { path: '/workspace', code: 'FORBIDDEN' },
  { path: 'file-link', code: 'FORBIDDEN' },
  { path: 'directory-link/passwd', code: 'FORBIDDEN' },
  { path: 'proc-link', code: 'FORBIDDEN' },
  { path: 'root-link/etc/passwd', code: 'FORBIDDEN' },
  { path: 'unreadable', code: 'FORBIDDEN' },
  { path: 'nothing', code: 'RESOURCE_NOT_FOUND' },
  { path: 'fifo', code: 'INVALID_REQUEST' },
  { path: 'directory', code: 'INVALID_REQUEST' },
  { path: 'huge', code: 'INVALID_REQUEST' },
  { path: 'nul\0', code: 'INVALID_REQUEST' },
])('refuses to read $path as $code', async ({ path, code }) => {
  const sandbox = await launch();
  await sandbox.run(request('bash', prepare));
  await expect(sandbox.readFile(path)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(path.split('\0')[0] ?? ''),
  });
  expect((await sandbox.run(request('python', '1'))).result).toBe('1');
});

test.each([
  { path: '/etc/x', code: 'FORBIDDEN' },
  { path: 'file-link', code: 'FORBIDDEN' },
  { path: 'directory-link/x', code: 'FORBIDDEN' },
  { path: 'fifo', code: 'INVALID_REQUEST' },
  { path: 'directory', code: 'INVALID_REQUEST' },
  { path: 'huge/below', code: 'CONFLICT' },
])('refuses to write $path as $code', async ({ path, code }) => {
  const sandbox = await launch();
  await sandbox.run(request('bash', prepare));
  await expect(sandbox.writeFile(path, Buffer.from('x'))).rejects.toMatchObject({ code });
  expect((await sandbox.run(request('python', '1'))).result).toBe('1');
});

test('says when the disk is full', async () => {
  const sandbox = await launch();
  await sandbox.run(
    request('bash', 'head -c 1G /dev/zero > full || head -c 1G /dev/zero > full2', { timeoutMs: 20_000 }),
  );
  await expect(sandbox.writeFile('more', Buffer.alloc(1024 * 1024))).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('No space left'),
  });
});
