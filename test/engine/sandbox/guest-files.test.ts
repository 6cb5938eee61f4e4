import { expect, test } from 'vitest';
import type { LocalSandbox } from '../../../src/engine/sandbox/local-sandbox.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const { launch } = useLauncher();

async function shell(sandbox: LocalSandbox, code: string) {
  return (await sandbox.run(request('bash', code, { timeoutMs: 20_000 }))).stdout;
}

async function upload(sandbox: LocalSandbox, path: string, content: string) {
  const file = await sandbox.createFile();
  await file.write(Buffer.from(content));
  await file.commit(path).finally(() => file.discard());
}

async function download(sandbox: LocalSandbox, path: string) {
  const pieces: Uint8Array[] = [];
  const { chunks } = await sandbox.openFile(path);
  for await (const piece of chunks) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

const prepare = `
ln -s /etc etc; ln -s /etc/passwd passwd; ln -s / root; ln -s inside link
mkdir inside; echo kept > inside/file; mkfifo fifo
`;

const touches: readonly (readonly [string, (sandbox: LocalSandbox, path: string) => Promise<unknown>])[] = [
  ['open', (sandbox, path) => sandbox.openFile(path)],
  ['upload', (sandbox, path) => upload(sandbox, path, 'x')],
  ['list', (sandbox, path) => sandbox.listFiles(path)],
  ['exists', (sandbox, path) => sandbox.fileExists(path)],
  ['remove', (sandbox, path) => sandbox.removeFile(path)],
  ['mkdir', (sandbox, path) => sandbox.makeDirectory(path)],
];
for (const [verb, touch] of touches) {
  test(`${verb} leads nowhere but /workspace and /tmp`, async () => {
    const sandbox = await launch();
    await shell(sandbox, prepare);
    for (const path of [
      '/etc/x',
      '/workspace/../etc/x',
      'etc/x',
      'root/etc/x',
      '/proc/self/environ',
      '/',
      '..',
    ]) {
      await expect(touch(sandbox, path), path).rejects.toMatchObject({
        code: 'FORBIDDEN',
        message: `Path not allowed: ${path}`,
      });
    }
    expect((await sandbox.run(request('python', '1'))).result).toBe('1');
  });
}

test('remove takes a link itself, a directory with all that is in it, and no root', async () => {
  const sandbox = await launch();
  await shell(sandbox, prepare);
  for (const path of ['link', 'etc', 'passwd', 'fifo']) await sandbox.removeFile(path);
  expect(await shell(sandbox, 'ls; cat inside/file; test -e /etc/passwd && echo there')).toBe(
    'inside\nroot\nkept\nthere\n',
  );
  await sandbox.removeFile('/workspace/inside/');
  expect(await sandbox.fileExists('inside')).toBe(false);
  for (const path of ['/workspace', '/workspace/.', '/tmp/']) {
    await expect(sandbox.removeFile(path)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  }
});

test('an upload is at its place only once it is whole, replaces, and leaves nothing else', async () => {
  const sandbox = await launch();
  await upload(sandbox, 'deep/er/file', 'first');
  const file = await sandbox.createFile();
  await file.write(Buffer.from('second'));
  expect(await download(sandbox, 'deep/er/file')).toBe('first');
  await file.commit('deep/er/file', { mode: 0o600 });
  expect(await download(sandbox, 'deep/er/file')).toBe('second');
  await upload(sandbox, '/tmp/elsewhere', 'third');
  expect(await download(sandbox, '/tmp/elsewhere')).toBe('third');
  await expect(upload(sandbox, 'deep', 'x')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  const discarded = await sandbox.createFile();
  await discarded.discard();
  expect(await shell(sandbox, 'stat -c %a deep/er/file; find /workspace -type f -printf "%P "')).toBe(
    '600\ndeep/er/file ',
  );
});

test('an upload that fills the disk is refused, and its part is gone', async () => {
  const sandbox = await launch();
  await shell(sandbox, 'head -c 1G /dev/zero > full; head -c 1G /dev/zero > full2; sync');
  const file = await sandbox.createFile();
  await expect(file.write(Buffer.alloc(1024 * 1024))).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('No space left'),
  });
  await file.discard();
  expect(await shell(sandbox, 'rm full full2; ls -A')).toBe('');
});

test('a list has what is there, of a huge directory the first 10,000', async () => {
  const sandbox = await launch();
  await shell(sandbox, `${prepare} mkdir huge; cd huge; seq 10100 | xargs touch; chmod 750 ../inside`);
  const listed = await sandbox.listFiles('/workspace');
  expect(listed.map(({ name, isDirectory }) => [name, isDirectory])).toEqual([
    ['etc', true],
    ['fifo', false],
    ['huge', true],
    ['inside', true],
    ['link', true],
    ['passwd', false],
    ['root', true],
  ]);
  expect(listed.find(({ name }) => name === 'inside')?.mode).toBe(0o750);
  expect(await sandbox.listFiles('huge')).toHaveLength(10_000);
  await expect(sandbox.listFiles('inside/file')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
});

test('a file that shrinks while it is read is no whole file', async () => {
  const sandbox = await launch();
  await shell(sandbox, 'head -c 3000000 /dev/zero > shrinking');
  const { size, chunks } = await sandbox.openFile('shrinking');
  expect(size).toBe(3_000_000);
  const read = async () => {
    for await (const _piece of chunks) await shell(sandbox, 'truncate -s 10 shrinking');
  };
  await expect(read()).rejects.toMatchObject({ code: 'INTERNAL_ERROR' });
});

test('more than 32 open files are refused, and room is made by those that are left', async () => {
  const sandbox = await launch();
  await shell(sandbox, 'echo x > file');
  const files = await Promise.all(Array.from({ length: 32 }, () => sandbox.openFile('file')));
  await expect(sandbox.openFile('file')).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  for await (const _piece of files[0]?.chunks ?? []) break;
  expect(await download(sandbox, 'file')).toBe('x\n');
});

test('a sandbox that is destroyed ends what is under way', async () => {
  const sandbox = await launch();
  const file = await sandbox.createFile();
  const signal = new AbortController().signal;
  const watch = sandbox.watchFiles('/workspace', { signal, onChange() {} });
  const terminal = sandbox.openTerminal({ env: {}, signal, onOutput: async () => {} });
  const ends = Promise.allSettled([watch, terminal.ended]);
  await sandbox.destroy();
  for (const end of await ends) expect(end).toMatchObject({ reason: { code: 'RESOURCE_NOT_FOUND' } });
  await expect(file.write(Buffer.from('x'))).rejects.toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
  expect(() => sandbox.pause()).toThrow('deleted');
});
