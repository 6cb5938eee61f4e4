import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { countOf } from '../support/guest-processes.ts';
import { apiClient } from './api-client.ts';
import { serveForTests } from './serve-for-tests.ts';

let server: Awaited<ReturnType<typeof serveForTests>>;
let api: ReturnType<typeof apiClient>;
let mine: Awaited<ReturnType<typeof api.createSandbox>>;

beforeAll(async () => {
  server = await serveForTests();
  api = apiClient({ baseUrl: server.url, apiKey: server.apiKey });
  mine = await api.createSandbox();
});
afterAll(async () => {
  await api.close();
  await server.stop();
});

const frame = z.looseObject({ type: z.string(), data: z.string().optional() });
type Frame = z.output<typeof frame>;

function connect(path: string, token: string | null = mine.token) {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  return new WebSocket(`${server.url.replace('http', 'ws')}${path}`, { headers });
}

/** An open socket, the frames that came on it and when, and how it ended. */
async function converse(path: string, first?: unknown) {
  const socket = connect(path);
  const frames: Frame[] = [];
  const times: number[] = [];
  socket.on('message', (data) => {
    times.push(performance.now());
    frames.push(frame.parse(JSON.parse(String(data))));
  });
  const closed = once(socket, 'close');
  await once(socket, 'open');
  if (first !== undefined) socket.send(JSON.stringify(first));
  const text = () => frames.map(({ data = '' }) => data).join('');
  return { socket, frames, times, closed, text };
}

const bash = async (code: string) => {
  const reply = await api.call(`POST ${mine.host}/execute`, {
    token: mine.token,
    json: { language: 'bash', code },
  });
  return reply.body['stdout'];
};

describe('an upgrade is refused', () => {
  test.each([
    ['without a token', '/terminal', () => null, 401],
    ['with the key in its place', '/terminal', () => server.apiKey, 401],
    ['for another sandbox', '/vms/another/terminal', () => mine.token, 401],
    ['where there is no WebSocket', '/execute', () => mine.token, 404],
  ])('%s', async (_says, path, token, status) => {
    const socket = connect(path, token());
    const [, response] = await once(socket, 'unexpected-response');
    expect(response.statusCode).toBe(status);
    socket.on('error', () => {}).terminate();
  });

  test('while the sandbox is paused', async () => {
    await api.call(`POST /v1/sandboxes/${mine.id}/pause`);
    const socket = connect('/terminal');
    const [, response] = await once(socket, 'unexpected-response');
    expect(response.statusCode).toBe(409);
    socket.on('error', () => {}).terminate();
    await api.call(`POST /v1/sandboxes/${mine.id}/resume`);
  });
});

describe('/execute/stream', () => {
  test('sends every frame in a turn of its own', async () => {
    const code = 'import time\nfor n in range(200): print(n, flush=True); time.sleep(0.001)';
    const { frames, times, closed, text } = await converse('/execute/stream', { type: 'execute', code });
    await closed;
    expect(text()).toBe(Array.from({ length: 200 }, (_, n) => `${n}\n`).join(''));
    expect(frames.slice(-2).map(({ type }) => type)).toEqual(['result', 'complete']);
    expect(frames.length).toBeGreaterThan(100);
    const perFrame = ((times.at(-1) ?? 0) - (times[0] ?? 0)) / (times.length - 1);
    expect(perFrame).toBeGreaterThan(4);
  });

  test('joins what comes too fast, so that nobody waits for minutes', async () => {
    const code = 'import os\nfor n in range(3000): os.write(1 + n % 2, b"x"); [0 for _ in range(2000)]';
    const { frames, closed, text } = await converse('/execute/stream', { type: 'execute', code });
    await closed;
    expect(text()).toHaveLength(3000);
    expect(frames.length).toBeLessThan(500);
  });

  test.each([
    ['no JSON', 'x'],
    ['no code', '{}'],
  ])('answers %s with an error and complete', async (_says, text) => {
    const { socket, frames, closed } = await converse('/execute/stream');
    socket.send('  ');
    socket.send(text);
    await closed;
    expect(frames).toMatchObject([
      { type: 'error', code: 'INVALID_REQUEST' },
      { type: 'complete', success: false },
    ]);
  });

  test('ends the run when the other side is gone', async () => {
    const { socket, text } = await converse('/execute/stream', {
      language: 'bash',
      code: 'echo on; exec sleep 78',
    });
    await expect.poll(text).toBe('on\n');
    socket.terminate();
    await expect.poll(() => bash(countOf('sleep'))).toBe('0\n');
  });
});

describe('/terminal', () => {
  const input = (data: string) => JSON.stringify({ type: 'input', data });

  test('is a terminal: its own, interactive, and interrupted by ^C', async () => {
    const { socket, frames, text, closed } = await converse('/terminal');
    socket.send(input('sleep 79; echo status $?\n'));
    await expect.poll(text).toContain('sleep 79; echo');
    await sleep(100);
    socket.send(input('\u0003'));
    await expect.poll(text).toContain('^C');
    socket.send(input('[ -t 0 ] && echo "is a tty"; exit 5\n'));
    await closed;
    expect(text()).toContain('is a tty\r\n');
    expect(frames.at(-1)).toMatchObject({ type: 'exit', code: 5, exitCode: 5 });
  });

  test('whoever reads slowly slows down the program, not the server', async () => {
    const { socket, closed } = await converse('/terminal');
    socket.send(input('yes | head -c 3000000; echo; echo E""ND\n'));
    socket.pause();
    await sleep(1500);
    expect(await bash(countOf('yes'))).toBe('1\n');
    socket.terminate();
    await closed;
    await expect.poll(() => bash(countOf('yes', 'head'))).toBe('0\n');
  });
});

test('/files/watch of what is not there, or not allowed, says so', async () => {
  for (const [path, code] of [
    ['/workspace/none', 'RESOURCE_NOT_FOUND'],
    ['/etc', 'FORBIDDEN'],
  ]) {
    const { frames, closed } = await converse('/files/watch', { action: 'watch', path });
    await closed;
    expect(frames[0]).toMatchObject({ type: 'error', code });
  }
});

test('a watch that ends makes room for the next', async () => {
  for (let round = 0; round < 8; round += 1) {
    const { socket, frames, closed } = await converse('/files/watch', {
      action: 'watch',
      path: '/workspace',
    });
    await sleep(30);
    socket.close();
    await closed;
    expect(frames).toEqual([]);
  }
});

test('a stream of metrics takes the key in the query', async () => {
  const url = `${server.url}/v1/sandboxes/${mine.id}/metrics/stream?token=${server.apiKey}`;
  const response = await fetch(url);
  expect(response.headers.get('content-type')).toContain('text/event-stream');
  for await (const chunk of response.body ?? []) {
    expect(Buffer.from(chunk).toString()).toMatch(/^data: \{"uptime_seconds":\d+/);
    break;
  }
  expect((await fetch(url.replace(/token=.*/, 'token=wrong'))).status).toBe(401);
});
