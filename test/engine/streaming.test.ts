import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { countOf } from '../support/guest-processes.ts';
import { serveForTests } from './serve-for-tests.ts';

let server: Awaited<ReturnType<typeof serveForTests>>;
let box: { host: string; token: string };

const created = z.object({ public_host: z.string(), auth_token: z.string(), id: z.string() });
const line = z.looseObject({ type: z.string(), data: z.string().optional() });

async function create() {
  const response = await fetch(`${server.url}/v1/sandboxes`, {
    method: 'POST',
    headers: { 'X-API-Key': server.apiKey },
    body: JSON.stringify({ template_id: '73' }),
  });
  const { public_host: host, auth_token: token, id } = created.parse(await response.json());
  return { host, token, id };
}

beforeAll(async () => {
  server = await serveForTests();
  box = await create();
});
afterAll(() => server.stop());

function execute(
  json: Record<string, unknown>,
  options: { signal?: AbortSignal; to?: typeof box; accept?: string } = {},
) {
  const { host, token } = options.to ?? box;
  return fetch(`${host}/execute`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, Accept: options.accept ?? 'application/x-ndjson' },
    body: JSON.stringify(json),
    ...(options.signal !== undefined && { signal: options.signal }),
  });
}

/** Each line with the time since the request at which it came. */
async function* linesOf(response: Response) {
  let rest = '';
  for await (const chunk of response.body ?? []) {
    const lines = (rest + Buffer.from(chunk).toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) yield line.parse(JSON.parse(text));
  }
  expect(rest).toBe('');
}

async function all(response: Response) {
  const lines: z.output<typeof line>[] = [];
  for await (const each of linesOf(response)) lines.push(each);
  return lines;
}

describe('a streamed execute', () => {
  test('sends output as it comes, then the whole result', async () => {
    const code =
      'import sys,time\nprint("one", flush=True); time.sleep(0.3)\nprint("two", file=sys.stderr)\n6*7';
    const response = await execute({ code });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('application/x-ndjson');
    const times: number[] = [];
    const lines: z.output<typeof line>[] = [];
    for await (const each of linesOf(response)) {
      times.push(performance.now());
      lines.push(each);
    }
    expect(lines).toMatchObject([
      { type: 'stdout', data: 'one\n' },
      { type: 'stderr', data: 'two\n' },
      {
        type: 'result',
        stdout: 'one\n',
        stderr: 'two\n',
        result: '42',
        exit_code: 0,
        request_id: expect.any(String),
      },
    ]);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(200);
  });

  test('sends at most 256 KiB of a stream; the result has all of it', async () => {
    const lines = await all(
      await execute({ language: 'bash', code: 'head -c 500000 /dev/zero | tr "\\0" x' }),
    );
    const live = lines.filter(({ type }) => type === 'stdout').map(({ data = '' }) => data.length);
    expect(live.reduce((sum, length) => sum + length, 0)).toBeLessThanOrEqual(256 * 1024);
    expect(String(lines.at(-1)?.['stdout'])).toHaveLength(500_000);
  });

  test.each([
    [{ code: '1', workdir: '/workspace/none' }, 400, 'INVALID_REQUEST'],
    [{ code: '1', language: 'cobol' }, 400, 'INVALID_REQUEST'],
    [{}, 400, 'INVALID_REQUEST'],
  ])('%j is an ordinary error, as nothing ran', async (json, status, code) => {
    const response = await execute(json);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ code });
  });

  test('tells a quiet run from a dead connection by a ping every 5 s', async () => {
    const lines = await all(await execute({ language: 'bash', code: 'sleep 1; echo on; sleep 5.2' }));
    expect(lines.map(({ type }) => type)).toEqual(['stdout', 'ping', 'result']);
  }, 10_000);

  test('ends the run when nobody reads any more', async () => {
    const caller = new AbortController();
    const response = await execute(
      { language: 'bash', code: 'echo on; exec sleep 77' },
      { signal: caller.signal },
    );
    for await (const { data } of linesOf(response)) {
      expect(data).toBe('on\n');
      break;
    }
    caller.abort();
    const sleepers = async () =>
      (await all(await execute({ language: 'bash', code: countOf('sleep') }))).at(-1)?.['stdout'];
    await expect.poll(sleepers).toBe('0\n');
  });

  test('a sandbox that is deleted in the middle is an error line', async () => {
    const other = await create();
    const response = await execute({ language: 'bash', code: 'echo on; sleep 60' }, { to: other });
    const lines: z.output<typeof line>[] = [];
    for await (const each of linesOf(response)) {
      lines.push(each);
      if (lines.length > 1) continue;
      const headers = { 'X-API-Key': server.apiKey };
      await fetch(`${server.url}/v1/sandboxes/${other.id}`, { method: 'DELETE', headers });
    }
    expect(lines).toMatchObject([
      { type: 'stdout', data: 'on\n' },
      { type: 'error', code: 'INTERNAL_ERROR', error: 'The sandbox was deleted.' },
    ]);
  });
});

describe('artifacts', () => {
  const artifacts = async (code: string) => {
    const result = (await all(await execute({ language: 'bash', code, workdir: '/workspace' }))).at(-1);
    return { artifacts: result?.['artifacts'], total: result?.['artifacts_total'] };
  };

  test('are the files that the run made or changed, newest first', async () => {
    expect(await artifacts('mkdir -p d; echo 1 > d/old; sleep 0.05; echo 22 > new; ln -s new link')).toEqual({
      artifacts: [
        { path: '/workspace/new', size: 3 },
        { path: '/workspace/d/old', size: 2 },
      ],
      total: undefined,
    });
    expect(await artifacts('sleep 0.02; echo more >> d/old; touch -d 2001-01-01 d/old')).toMatchObject({
      artifacts: [{ path: '/workspace/d/old', size: 7 }],
    });
    expect(await artifacts('cat d/old; rm new')).toEqual({ artifacts: undefined, total: undefined });
  });

  test('are those of this run alone, also where several are closer than the times of files', async () => {
    for (let round = 0; round < 20; round += 1) {
      const code = `open("/workspace/round", "w").write("${round}")`;
      expect((await all(await execute({ code }))).at(-1)?.['artifacts']).toHaveLength(1);
      for (const _later of [1, 2, 3])
        expect((await all(await execute({ code: '1' }))).at(-1)?.['artifacts']).toBeUndefined();
    }
  });

  const upload = new FormData();
  upload.set('file', new Blob(['given']), 'given');
  test.each([
    {
      as: 'text',
      path: '/files/write',
      body: JSON.stringify({ path: '/workspace/given', content: 'given' }),
    },
    { as: 'an upload', path: '/files/upload?path=/workspace/given', body: upload },
  ])('are none of what a caller wrote right before, as $as', async ({ path, body }) => {
    const headers = { Authorization: `Bearer ${box.token}` };
    for (let round = 0; round < 20; round += 1) {
      const written = await fetch(`${box.host}${path}`, { method: 'POST', headers, body });
      expect(await written.json()).toMatchObject({ success: true });
      expect((await all(await execute({ code: '1' }))).at(-1)?.['artifacts']).toBeUndefined();
    }
  });

  test('are none of what tools hide', async () => {
    const code = 'mkdir -p .git node_modules/x; touch .git/a node_modules/x/b; echo > /tmp/c';
    expect((await artifacts(code)).artifacts).toBeUndefined();
  });

  test('are 50 at most, and the count of all', async () => {
    const { artifacts: shown, total } = await artifacts('mkdir many; touch many/{1..60}');
    expect(shown).toHaveLength(50);
    expect(total).toBe(60);
  });

  test('are there for Python too, without a run before', async () => {
    const lines = await all(await execute({ code: 'open("/workspace/plot.txt", "w").write("x")' }));
    expect(lines.at(-1)?.['artifacts']).toEqual([{ path: '/workspace/plot.txt', size: 1 }]);
  });
});

describe('a caller that takes both forms', () => {
  const accept = 'application/x-ndjson, application/json';
  test.each([
    { says: 'gets a short run whole', code: 'print(1)', type: /^application\/json/ },
    {
      says: 'hears a longer one as it goes',
      code: 'import time; print(1); time.sleep(0.4)',
      type: /^application\/x-ndjson/,
    },
  ])('$says', async ({ code, type }) => {
    const response = await execute({ code }, { accept });
    expect(response.headers.get('content-type')).toMatch(type);
    const text = await response.text();
    const last = JSON.parse(text.trim().split('\n').at(-1) ?? '');
    expect(last).toMatchObject({ success: true, stdout: '1\n', exit_code: 0 });
  });
});
