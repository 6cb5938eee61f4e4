import { describe, expect, onTestFinished, test } from 'vitest';
import { newMark, processesWith, untilMs } from './support/built-server.ts';
import { endless } from './support/endless-programs.ts';
import { plainPng } from './support/plain-png.ts';
import { openStdioSession, type StdioSession } from './support/stdio-session.ts';

/** Hosts show one form of a result, its text or its structure; so much every host takes. */
const MAX_FORM_CHARS = 40_000;
const CANCEL_MS = 200;

async function open(): Promise<StdioSession> {
  const session = await openStdioSession();
  onTestFinished(session.close);
  return session;
}

describe.each(['python', 'bash', 'javascript'] as const)('an endless %s program', (language) => {
  const begin = async (session: StdioSession, signal: AbortSignal) => {
    const mark = newMark();
    const outcome = session
      .execute({ language, code: endless[language](mark) }, { signal })
      .catch((error: unknown) => String(error));
    await untilMs(() => processesWith(mark).length > 0);
    return { mark, outcome };
  };

  test('is gone with all its processes when its call is cancelled; the sandbox stays', async () => {
    const session = await open();
    await session.execute({ code: 'x = 41; open("kept", "w").write("file")' });
    const abort = new AbortController();
    const { mark, outcome } = await begin(session, abort.signal);
    abort.abort('enough');
    expect(await untilMs(() => processesWith(mark).length === 0)).toBeLessThan(CANCEL_MS);
    expect(await outcome).toContain('enough');
    const after = await session.execute({ code: 'x + len(open("kept").read())' });
    expect(after.execution).toMatchObject({ status: 'completed', result: '45' });
  });
});

describe('output', () => {
  test('of 100 MB is answered in short, with all of it in a file in the sandbox', async () => {
    const { call, execute } = await open();
    const bytes = 100_000_000;
    const answer = await call('execute_code', {
      code: `import sys\nfor i in range(1000): sys.stdout.write((f"{i:09}" + "\\n") * 10_000)`,
    });
    for (const form of [answer.content, answer.structuredContent]) {
      expect(JSON.stringify(form).length).toBeLessThan(MAX_FORM_CHARS);
    }
    const path = /all of it is in (\S+) in the sandbox/.exec(JSON.stringify(answer.content))?.[1];
    expect(answer.structuredContent).toMatchObject({
      execution: {
        status: 'completed',
        stdout: expect.stringMatching(/^000000000\n.*characters left out.*000000999\n$/s),
        truncated: [{ stream: 'stdout', total_chars: bytes, full_output_path: path }],
      },
    });
    const code = `stat -c %s ${path}; sed -n 5000000p ${path}; tail -n 1 ${path}`;
    const read = await execute({ language: 'bash', code });
    expect(read.execution).toMatchObject({ stdout: `${bytes}\n000000499\n000000999\n` });
  });

  test.each([
    {
      says: 'loses its terminal escapes',
      code: 'print("\\x1b[1;31mred\\x1b[0m \\x1b]8;;http://a\\x07link\\x1b]8;;\\x07")',
      stdout: /^red link\n$/,
    },
    {
      says: 'that is binary is named as such',
      code: 'import sys; sys.stdout.buffer.write(bytes(range(256)) * 9)',
      stdout: /^\[binary output, about \d+ bytes;/,
    },
    {
      says: 'is cut between characters',
      code: 'print("a" + "\\U0001F600" * 30_000 + "b")',
      stdout: /^a(\u{1F600})+\n\[… \d+ characters left out …\]\n(\u{1F600})+b\n$/u,
    },
    {
      says: 'that came undecodable is shown as far as it is text',
      code: 'import sys; sys.stdout.buffer.write(b"caf\\xe9 and on and on\\n")',
      stdout: /^caf\uFFFD and on and on\n$/,
    },
  ])('$says', async ({ code, stdout }) => {
    const { execute } = await open();
    const { execution } = await execute({ code });
    expect(execution?.stdout).toMatch(stdout);
  });
});

describe('a picture', () => {
  test.each([
    {
      says: 'read back from a file',
      code: `${plainPng}\nopen("dot.png", "wb").write(png)`,
      paths: ['dot.png'],
    },
    {
      says: 'that the last expression draws',
      code: `${plainPng}\nclass Dot:\n  def _repr_png_(self): return png\nDot()`,
      paths: undefined,
    },
  ])('$says arrives as an image, beside a text that stands alone', async ({ code, paths }) => {
    const { call } = await open();
    const { content, structuredContent } = await call('execute_code', {
      code,
      ...(paths && { read_paths: paths }),
    });
    // Hosts that are given the structured form show nothing else.
    expect(structuredContent).toBeUndefined();
    const [text, image, ...more] = content;
    expect(more).toEqual([]);
    expect(image).toMatchObject({ type: 'image', mimeType: 'image/png' });
    expect(image?.type === 'image' && Buffer.from(image.data, 'base64').subarray(1, 4).toString()).toBe(
      'PNG',
    );
    expect(text?.type === 'text' && text.text).toMatch(
      /^python completed, exit code 0.*execution exec_.*sandbox /,
    );
    expect(text?.type === 'text' && text.text).toContain('Images with this text: image/png.');
  });
});

describe('files', () => {
  test('go in, are worked on and come out in one call', async () => {
    const { execute } = await open();
    const { execution } = await execute({
      files: [
        { path: 'in/prices.csv', content: 'item,price\nä,1\nb,2\n' },
        { path: '/workspace/raw.bin', content_base64: Buffer.from([0, 255, 1]).toString('base64') },
      ],
      code: 'total = sum(int(l.split(",")[1]) for l in open("in/prices.csv").read().splitlines()[1:])\nopen("total.json", "w").write(f"{{\\"total\\": {total}}}")\nopen("out.bin", "wb").write(open("raw.bin", "rb").read()[::-1])',
      read_paths: ['total.json', 'out.bin', 'missing.txt'],
    });
    expect(execution?.['artifacts']).toEqual(
      expect.arrayContaining([
        { path: '/workspace/total.json', size: 12, media_type: 'application/json' },
        { path: '/workspace/out.bin', size: 3, media_type: 'application/octet-stream' },
      ]),
    );
    expect(execution?.['files']).toMatchObject([
      { path: '/workspace/total.json', content: '{"total": 3}' },
      { path: '/workspace/out.bin', content_base64: Buffer.from([1, 255, 0]).toString('base64') },
      { path: '/workspace/missing.txt', error: expect.stringContaining('RESOURCE_NOT_FOUND') },
    ]);
  });

  const ok = 'print("it ran")';
  test.each([
    {
      says: 'bad base64',
      args: { files: [{ path: 'a', content_base64: 'no base64!' }] },
      error: { code: 'INVALID_ARGUMENTS', message: /files\.0\.content_base64/ },
    },
    {
      says: 'neither text nor bytes',
      args: { files: [{ path: 'a' }] },
      error: { code: 'INVALID_ARGUMENTS', message: /files\.0/ },
    },
    {
      says: 'both text and bytes',
      args: { files: [{ path: 'a', content: 'a', content_base64: 'YQ==' }] },
      error: { code: 'INVALID_ARGUMENTS', message: /files\.0/ },
    },
    {
      says: 'a path outside',
      args: { files: [{ path: '/etc/passwd', content: '' }] },
      error: { code: 'FORBIDDEN', message: /"\/etc\/passwd"/ },
    },
    {
      says: 'a path that climbs out',
      args: { files: [{ path: '../../etc/passwd', content: '' }] },
      error: { code: 'FORBIDDEN', message: /"\.\.\/\.\.\/etc\/passwd"/ },
    },
  ])('with $says are refused by name, and nothing runs', async ({ args, error }) => {
    const { execute } = await open();
    const answer = await execute({ code: ok, ...args });
    expect(answer.error).toMatchObject({
      code: error.code,
      message: expect.stringMatching(error.message),
      outcome: 'not_performed',
    });
    expect(answer.execution).toBeUndefined();
  });
});
