import { expect, test } from 'vitest';
import { createRunRecord } from '../../../src/engine/sandbox/run-record.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const HEAD = 1000;
const TAIL = 500;
const { launch } = useLauncher({ limits: { headChars: HEAD, tailChars: TAIL, spillBytes: 100_000 } });

const lines = (count: number) => Array.from({ length: count }, (_, index) => `${index}\n`).join('');

test.each([
  { says: 'nothing', text: '' },
  { says: 'as much as the head', text: 'x'.repeat(HEAD) },
  { says: 'one more than the head', text: `${'x'.repeat(HEAD)}y` },
  { says: 'as much as head and tail', text: 'x'.repeat(HEAD) + 'y'.repeat(TAIL) },
])('shows all of $says', async ({ text }) => {
  const sandbox = await launch();
  await sandbox.writeFile('text', Buffer.from(text));
  const result = await sandbox.run(request('bash', 'cat text; cat text >&2'));
  expect([result.stdout, result.stderr, result.truncated]).toEqual([text, text, []]);
});

test.each([
  { says: 'ASCII', text: lines(3000), writeBy: 'cat text' },
  { says: 'characters of two to four bytes', text: 'aé✓😀\n'.repeat(2000), writeBy: 'cat text' },
  { says: 'pieces that cut characters', text: 'aé✓😀\n'.repeat(500), writeBy: 'dd if=text bs=7 status=none' },
])('shows head and tail of more, counts it, and keeps it in a file: $says', async ({ text, writeBy }) => {
  const sandbox = await launch();
  await sandbox.writeFile('text', Buffer.from(text));
  const heard: string[] = [];
  const result = await sandbox.run(request('bash', writeBy), { onOutput: (_, piece) => heard.push(piece) });
  const characters = [...text];
  const head = characters.slice(0, HEAD).join('');
  const tail = characters.slice(-TAIL).join('');
  const leftOut = characters.length - HEAD - TAIL;
  expect(result.stdout).toBe(`${head}\n… [${leftOut} characters left out] …\n${tail}`);
  expect(heard.join('')).toBe(result.stdout);
  const [truncated, ...others] = result.truncated;
  expect(others).toEqual([]);
  expect(truncated?.stream).toBe('stdout');
  expect(truncated?.totalChars).toBe(leftOut + head.length + tail.length);
  const full = await sandbox.readFile(truncated?.fullOutputPath ?? '');
  expect(Buffer.from(full).toString()).toBe(text);
});

test('caps the file, and keeps of the longest only the last two', async () => {
  const sandbox = await launch();
  const paths: string[] = [];
  for (let index = 0; index < 6; index++) {
    const result = await sandbox.run(request('bash', 'head -c 300000 /dev/zero | tr "\\0" a'));
    paths.push(result.truncated[0]?.fullOutputPath ?? '');
  }
  const lengths = paths.map((path) =>
    sandbox.readFile(path).then(
      ({ length }) => length,
      () => 'gone',
    ),
  );
  expect(await Promise.all(lengths)).toEqual(['gone', 'gone', 'gone', 'gone', 100_000, 100_000]);
});

test('replaces what is no UTF-8', async () => {
  const sandbox = await launch();
  const result = await sandbox.run(request('bash', "printf 'a\\xff\\xfe\\x00b\\xe2\\x9c'"));
  expect(result.stdout).toBe('a\ufffd\ufffd\0b\ufffd');
});

test('does without the file when /tmp is full', async () => {
  const sandbox = await launch();
  await sandbox.run(request('bash', 'head -c 1G /dev/zero > /tmp/full', { timeoutMs: 20_000 }));
  const result = await sandbox.run(request('bash', 'head -c 300000 /dev/zero | tr "\\0" a'));
  expect(result).toMatchObject({ exitCode: 0, truncated: [{ stream: 'stdout', totalChars: 300_000 }] });
});

test('a gigabyte costs neither memory here nor much time', async () => {
  const sandbox = await launch();
  const before = process.memoryUsage().rss;
  const result = await sandbox.run(
    request('bash', 'head -c 1G /dev/zero | tr "\\0" a', { timeoutMs: 60_000 }),
  );
  expect(result.truncated).toMatchObject([{ stream: 'stdout', totalChars: 1024 ** 3 }]);
  // Measured: 1.5 s and some 5 MB, on a machine of two cores with nothing else to do.
  expect(result.executionTimeMs).toBeLessThan(15_000);
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
}, 60_000);

test.each([
  { says: 'more head than agreed', events: [output('x'.repeat(2 * HEAD + 1))] },
  { says: 'two cuts', events: [cut(1), cut(1)] },
  {
    says: 'more tail than agreed',
    events: [output('x'.repeat(HEAD)), cut(1), output('y'.repeat(2 * TAIL + HEAD + 1))],
  },
])('refuses $says', ({ events }) => {
  const record = createRunRecord({ headChars: HEAD, tailChars: TAIL }, () => {});
  expect(events.map((event) => record.take(event, 100)).at(-1)).toBe(false);
});

test('refuses more rich output than the agent sends', () => {
  const record = createRunRecord({ headChars: HEAD, tailChars: TAIL }, () => {});
  const piece = { event: 'rich', id: 'a', kind: 'png', text: 'x'.repeat(128 * 1024) } as const;
  const taken = Array.from({ length: 49 }, () => record.take(piece, 100));
  expect(taken).toEqual([...Array.from({ length: 48 }, () => true), false]);
});

test('refuses more lines than any run can need', () => {
  const record = createRunRecord({ headChars: HEAD, tailChars: TAIL }, () => {});
  expect(record.take(output(''), 1024)).toBe(true);
  expect(record.take(output(''), 256 * 1024 * 1024)).toBe(false);
});

function output(text: string) {
  return { event: 'output', id: 'a', stream: 'stdout', text } as const;
}

function cut(leftOutChars: number) {
  return { event: 'cut', id: 'a', stream: 'stdout', leftOutChars } as const;
}
