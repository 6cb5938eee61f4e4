import { spawn } from 'node:child_process';
import { afterEach, expect, test } from 'vitest';
import { freeze } from '../../../src/engine/sandbox/freeze.ts';
import { defaultLimits } from '../../../src/engine/sandbox/limits.ts';
import { createLocalSandbox, type LocalSandbox } from '../../../src/engine/sandbox/local-sandbox.ts';
import type { Watchdog } from '../../../src/engine/sandbox/watchdog.ts';
import { silentLog } from '../../../src/log.ts';
import { request } from './sandbox-fixture.ts';

const noWatchdog = { runStarted() {}, runEnded() {}, killedSince: () => false, stop() {} };
let sandboxes: LocalSandbox[] = [];
afterEach(async () => {
  await Promise.all(sandboxes.map((sandbox) => sandbox.destroy()));
  sandboxes = [];
});

/** A sandbox whose agent is the given Node program, with `say(event)` and `heard` (a promise of the first request). */
function fakeGuest(program: string, watchdog: Watchdog = noWatchdog) {
  const prelude = `
    const say = (event) => process.stdout.write(JSON.stringify(event) + '\\n');
    const heard = new Promise((resolve) => process.stdin.once('data', (line) => resolve(JSON.parse(line))));
    process.stdin.resume();
  `;
  const child = spawn(process.execPath, ['-e', `${prelude}(async () => {${program}})()`], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const { sandbox, ready } = createLocalSandbox({
    guest: {
      input: child.stdin,
      output: child.stdout,
      rootPid: child.pid ?? 0,
      freeze: () => freeze(child.pid ?? 0),
      kill: () => child.kill('SIGKILL'),
      exited: new Promise((resolve) => child.once('close', () => resolve())),
    },
    limits: defaultLimits,
    log: silentLog,
    watch: () => watchdog,
    patience: { timeoutGraceMs: 20, cancelGraceMs: 20, confirmMs: 100 },
  });
  sandboxes.push(sandbox);
  return { sandbox, ready };
}

const hello = `say({ event: 'hello' });`;

test('believes an agent that keeps to the protocol', async () => {
  const { sandbox, ready } = fakeGuest(`${hello}
    const { id } = await heard;
    say({ event: 'output', id, stream: 'stdout', text: 'hi' });
    say({ event: 'rich', id, kind: 'json', text: '{"a":1}' });
    say({ event: 'exit', id, code: 3, variablesLost: false });`);
  await ready;
  expect(await sandbox.run(request('bash', ''))).toMatchObject({ stdout: 'hi', json: { a: 1 }, exitCode: 3 });
});

const lies = [
  { says: 'garbage', program: `process.stdout.write('no json\\n')` },
  { says: 'JSON that is no event', program: `say([1, 2])` },
  { says: 'an unknown event', program: `say({ event: 'other', id })` },
  { says: 'an unknown field', program: `say({ event: 'done', id, more: 1 })` },
  { says: 'a wrong type', program: `say({ event: 'exit', id, code: '0', variablesLost: false })` },
  {
    says: 'an exit code out of range',
    program: `say({ event: 'exit', id, code: 256, variablesLost: false })`,
  },
  { says: 'a second greeting', program: `say({ event: 'hello' })` },
  { says: 'a forged run', program: `say({ event: 'exit', id: 'other', code: 0, variablesLost: false })` },
  { says: 'a prototype as run', program: `say({ event: 'done', id: '__proto__' })` },
  { says: 'an event of a file for a run', program: `say({ event: 'done', id })` },
  {
    says: 'a failure code of its own',
    program: `say({ event: 'failed', id, code: 'PAYMENT_REQUIRED', message: '' })`,
  },
  {
    says: 'an endless line',
    program: `for (;;) if (!process.stdout.write('x'.repeat(65536))) await new Promise((r) => process.stdout.once('drain', r))`,
  },
  { says: 'a line of 2 MiB', program: `process.stdout.write('"' + 'x'.repeat(2 ** 21) + '"\\n')` },
  { says: 'deep nesting', program: `process.stdout.write('['.repeat(500000) + '\\n')` },
  { says: 'bytes that are no text', program: `process.stdout.write(Buffer.from([0xff, 0xfe, 10, 0, 10]))` },
  {
    says: 'a flood of output',
    program: `for (;;) {
      say({ event: 'output', id, stream: 'stdout', text: 'x'.repeat(100000) });
      await new Promise((r) => setImmediate(r));
    }`,
  },
  {
    says: 'a flood of rich output',
    program: `for (;;) {
      say({ event: 'rich', id, kind: 'html', text: 'x'.repeat(100000) });
      await new Promise((r) => setImmediate(r));
    }`,
  },
];

test.each(lies)('ends a sandbox whose agent sends $says, and nothing else', async ({ program }) => {
  const { sandbox, ready } = fakeGuest(`${hello} const { id } = await heard; ${program}`);
  await ready;
  await expect(sandbox.run(request('bash', ''))).rejects.toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
  expect(await sandbox.ended).toBe('misbehaved');
});

test.each([
  {
    says: 'talks before it is asked',
    program: `say({ event: 'exit', id: 'a', code: 0, variablesLost: false })`,
    end: 'misbehaved',
  },
  { says: 'leaves', program: 'process.exit(0)', end: 'crashed' },
])('ends a sandbox whose agent $says', async ({ program, end }) => {
  const { sandbox, ready } = fakeGuest(`${hello} setTimeout(() => { ${program} }, 20)`);
  await ready;
  expect(await sandbox.ended).toBe(end);
});

test('tells a run that memory ended its sandbox, where the agent went with what was killed for it', async () => {
  const watchdog = { ...noWatchdog, killedSince: (timeMs: number) => timeMs < performance.now() };
  const { sandbox, ready } = fakeGuest(`${hello} await heard; process.exit(137)`, watchdog);
  await ready;
  const result = await sandbox.run(request('bash', ''));
  expect(result).toMatchObject({ endedBy: 'memory', exitCode: 137, variablesLost: true });
  expect(await sandbox.ended).toBe('memory');
});

test.each([
  { says: 'starts with something else', program: `say({ event: 'done', id: 'a' })` },
  { says: 'leaves at once', program: '' },
])('is never ready when the agent $says', async ({ program }) => {
  const { ready } = fakeGuest(`${program}; process.exit(1)`);
  await expect(ready).rejects.toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
});

test('refuses file data that was not asked for, and too much of it', async () => {
  const { sandbox, ready } = fakeGuest(
    `${hello} const { id } = await heard; say({ event: 'data', id, base64: 'AAAA' })`,
  );
  await ready;
  await expect(sandbox.writeFile('a', Buffer.from('x'))).rejects.toMatchObject({
    code: 'RESOURCE_NOT_FOUND',
  });
  expect(await sandbox.ended).toBe('misbehaved');
});

const signal = new AbortController().signal;
const fileLies: readonly {
  says: string;
  ask: (sandbox: LocalSandbox) => Promise<unknown>;
  program: string;
}[] = [
  {
    says: 'data for a size',
    ask: (sandbox) => sandbox.openFile('a'),
    program: `say({ event: 'data', id, base64: 'AAAA' })`,
  },
  {
    says: 'a negative size',
    ask: (sandbox) => sandbox.openFile('a'),
    program: `say({ event: 'size', id, bytes: -1 })`,
  },
  {
    says: 'an endless list',
    ask: (sandbox) => sandbox.listFiles('a'),
    program: `const entry = { name: 'x', size: 1, isDirectory: false, modifiedMs: 0, mode: 0 };
      for (;;) {
        say({ event: 'entries', id, entries: Array(500).fill(entry) });
        await new Promise((r) => setImmediate(r));
      }`,
  },
  {
    says: 'a change of another kind',
    ask: (sandbox) => sandbox.watchFiles('a', { signal, onChange() {} }),
    program: `say({ event: 'change', id, path: 'a', change: 'eaten' })`,
  },
  {
    says: 'more of a terminal than was asked for',
    ask: (sandbox) => sandbox.openTerminal({ env: {}, signal, onOutput: () => new Promise(() => {}) }).ended,
    program: `for (let n = 0; n < 9; n += 1) say({ event: 'output', id, stream: 'stdout', text: 'x' })`,
  },
];
test.each(fileLies)('ends a sandbox whose agent answers with $says', async ({ ask, program }) => {
  const { sandbox, ready } = fakeGuest(`${hello} const { id } = await heard; ${program}`);
  await ready;
  await expect(ask(sandbox)).rejects.toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
  expect(await sandbox.ended).toBe('misbehaved');
});

test('ends the sandbox of an agent that does not confirm a kill; the run keeps its output', async () => {
  const { sandbox, ready } = fakeGuest(`${hello}
    const { id } = await heard;
    say({ event: 'output', id, stream: 'stdout', text: 'so far' });
    setInterval(() => {}, 1000);`);
  await ready;
  const result = await sandbox.run(request('python', '', { timeoutMs: 200 }));
  expect(result).toMatchObject({ stdout: 'so far', endedBy: 'timeout', exitCode: 124, variablesLost: true });
  expect(await sandbox.ended).toBe('crashed');
});

test('survives an agent that does not read', async () => {
  const { sandbox, ready } = fakeGuest(`${hello} process.stdin.destroy(); setInterval(() => {}, 1000);`);
  await ready;
  const run = sandbox.run(request('bash', 'x'.repeat(1_000_000), { timeoutMs: 50 }));
  expect(await run).toMatchObject({ endedBy: 'timeout' });
});
