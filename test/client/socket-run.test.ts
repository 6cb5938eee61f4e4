import { createServer } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createHopxClient, type HopxClient } from '../../src/client/hopx-client.ts';
import { unlimitedRates } from '../../src/client/lanes.ts';
import { runOverSocket } from '../../src/client/socket-run.ts';
import { type Engine, startEngine } from '../../src/engine/engine.ts';
import { silentLog } from '../../src/log.ts';
import { newCall } from '../support/calls.ts';

describe('a run that is listened to, over HopX’s WebSocket', () => {
  let engine: Engine;
  let client: HopxClient;
  let sandboxId = '';
  beforeAll(async () => {
    engine = await startEngine({ listen: { kind: 'loopback', port: 0 }, log: silentLog });
    const { baseUrl, apiKey } = engine;
    client = createHopxClient({
      baseUrl,
      apiKey,
      rates: unlimitedRates,
      streaming: 'socket',
      log: silentLog,
    });
    sandboxId = (await client.createSandbox({ template_name: 'base', timeout_seconds: 300 }, newCall())).id;
  });
  afterAll(async () => {
    await client.close();
    await engine.close();
  });

  const run = async (
    code: string,
    more: { timeout?: number; signal?: AbortSignal; language?: string } = {},
  ) => {
    const { signal, timeout = 10, language = 'bash' } = more;
    const heard: string[] = [];
    const call = { ...newCall(signal === undefined ? {} : { signal }), isHeard: true };
    const ran = client.execute(sandboxId, { code, language, timeout }, call, (stream, text) =>
      heard.push(`${stream}:${text}`),
    );
    return { heard, ran };
  };

  test('is heard as it prints, and ends with all of it', async () => {
    const { heard, ran } = await run('echo one; sleep 0.3; echo two >&2; exit 3');
    await expect.poll(() => heard).toEqual(['stdout:one\n']);
    expect((await ran).reply).toMatchObject({
      stdout: 'one\n',
      stderr: 'two\n',
      exit_code: 3,
      success: false,
    });
    expect(heard).toEqual(['stdout:one\n', 'stderr:two\n']);
  });

  test('that is cancelled is gone', async () => {
    const abort = new AbortController();
    const { heard, ran } = await run('echo on; sleep 4712.5', { signal: abort.signal });
    await expect.poll(() => heard).toHaveLength(1);
    abort.abort();
    await expect(ran).rejects.toMatchObject({ code: 'CANCELLED', facts: { outcome: 'unknown' } });
    const running = async () =>
      (await client.runCommand(sandboxId, 'cat /proc/[0-9]*/cmdline | tr "\\0" " "', newCall())).stdout;
    await expect.poll(running).not.toContain('sleep 4712.5 ');
  });

  test('in Python goes the ordinary way, for its result', async () => {
    const { ran } = await run('6 * 7', { language: 'python' });
    expect((await ran).reply).toMatchObject({ result: '42' });
  });
});

describe('what is no run', () => {
  const closers: (() => void)[] = [];
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  /** A server that answers the upgrade with these words and closes. */
  async function refusing(words: string): Promise<string> {
    const server = createServer();
    server.on('upgrade', (_request, socket) => socket.end(words));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => server.close());
    const address = server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  const body = JSON.stringify({ error: 'Rate limit exceeded', code: 'RATE_LIMIT_EXCEEDED', retry_after: 3 });
  const rows = [
    {
      says: 'a refusal of the handshake is a reply',
      words: `HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      reply: { kind: 'reply', status: 429, body: { retry_after: 3 } },
    },
    {
      says: 'a connection that ends in the handshake was never sent',
      words: '',
      reply: { kind: 'broken', sent: false },
    },
    {
      says: 'a redirect is not followed',
      words: 'HTTP/1.1 302 Found\r\nlocation: http://198.51.100.1/\r\n\r\n',
      reply: { kind: 'reply', status: 302 },
    },
  ];
  test.each(rows)('$says', async ({ words, reply }) => {
    const origin = await refusing(words);
    const request = {
      method: 'POST',
      origin,
      path: '/execute/stream',
      headers: {},
      timeoutMs: 2_000,
    } as const;
    const options = { request, handshakeTimeoutMs: 1_000, maxBytes: 1_000, now: () => performance.now() };
    expect(await runOverSocket(options)).toMatchObject(reply);
  });
});
