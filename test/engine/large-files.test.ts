import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';

// The server in a process of its own, as its memory is what counts.
const server = spawn(process.execPath, ['dist/main.js', 'serve'], { stdio: ['ignore', 'pipe', 'inherit'] });
let host = '';
let headers: Record<string, string> = {};

beforeAll(async () => {
  const [announced] = await once(createInterface(server.stdout), 'line');
  const { url, api_key: key } = z
    .object({ url: z.string(), api_key: z.string() })
    .parse(JSON.parse(announced));
  const response = await fetch(`${url}/v1/sandboxes`, {
    method: 'POST',
    headers: { 'X-API-Key': key },
    body: JSON.stringify({ template_id: '73' }),
  });
  const made = z.object({ public_host: z.string(), auth_token: z.string() }).parse(await response.json());
  host = made.public_host;
  headers = { Authorization: `Bearer ${made.auth_token}` };
});
afterAll(async () => {
  server.kill();
  await once(server, 'exit');
});

const MIB = 1024 * 1024;
const SIZE = 100 * MIB;

/** The most memory that the server ever held. */
function peakBytes(): number {
  const status = readFileSync(`/proc/${server.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}

test('100 MB go up and come down with their hash, and the server stays below 200 MB', async () => {
  const sent = createHash('sha256');
  const block = randomBytes(MIB);
  const body = async function* () {
    yield Buffer.from(`--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n`);
    for (let left = SIZE; left > 0; left -= MIB) {
      block.writeUInt32LE(left, 0);
      sent.update(block);
      yield Buffer.from(block);
    }
    // After the file, as the JS SDK sends it.
    yield Buffer.from(
      '\r\n--b\r\nContent-Disposition: form-data; name="path"\r\n\r\n/workspace/big\r\n--b--\r\n',
    );
  };
  const uploaded = await fetch(`${host}/files/upload`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'multipart/form-data; boundary=b' },
    body: ReadableStream.from(body()),
    duplex: 'half',
  });
  expect(await uploaded.json()).toMatchObject({ success: true, path: '/workspace/big', size: SIZE });
  const hash = sent.digest('hex');

  const inside = await fetch(`${host}/execute`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ language: 'bash', code: 'sha256sum < /workspace/big; ls -A /workspace' }),
  });
  expect(await inside.json()).toMatchObject({ stdout: `${hash}  -\nbig\n` });

  const downloaded = await fetch(`${host}/files/download?path=/workspace/big`, { headers });
  expect(downloaded.headers.get('content-length')).toBe(String(SIZE));
  const received = createHash('sha256');
  for await (const chunk of downloaded.body ?? []) received.update(chunk);
  expect(received.digest('hex')).toBe(hash);

  expect(peakBytes()).toBeLessThan(200 * MIB);
}, 60_000);

test('a download that is broken off, and one nobody reads, leave nothing behind', async () => {
  for (let round = 0; round < 40; round += 1) {
    const response = await fetch(`${host}/files/download?path=/workspace/big`, { headers });
    await response.body?.cancel();
  }
  // The agent takes 32 open files.
  await expect
    .poll(
      async () =>
        (await fetch(`${host}/files/download?path=/workspace/big`, { headers, method: 'GET' })).status,
    )
    .toBe(200);
});

test('an upload that is broken off leaves no file', async () => {
  const caller = new AbortController();
  const body = async function* () {
    yield Buffer.from(`--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n`);
    yield randomBytes(MIB);
    caller.abort();
    await new Promise(() => {});
  };
  const upload = fetch(`${host}/files/upload?path=/workspace/cut`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'multipart/form-data; boundary=b' },
    body: ReadableStream.from(body()),
    duplex: 'half',
    signal: caller.signal,
  });
  await expect(upload).rejects.toThrow('aborted');
  const listed = async () => {
    const code = JSON.stringify({ language: 'bash', code: 'ls -A /workspace' });
    const response = await fetch(`${host}/execute`, { method: 'POST', headers, body: code });
    return response.json();
  };
  await expect.poll(listed).toMatchObject({ stdout: 'big\n' });
});

test.each([
  ['no file', '--b\r\nContent-Disposition: form-data; name="path"\r\n\r\n/workspace/x\r\n--b--\r\n', 400],
  ['no path', '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--b--\r\n', 400],
  ['no form', 'x', 400],
  [
    'a path elsewhere',
    '--b\r\nContent-Disposition: form-data; name="path"\r\n\r\n/etc/x\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--b--\r\n',
    403,
  ],
])('an upload with %s is refused', async (_says, body, status) => {
  const response = await fetch(`${host}/files/upload`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'multipart/form-data; boundary=b' },
    body,
  });
  expect(response.status).toBe(status);
});
