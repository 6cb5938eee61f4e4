import { describe, expect, test } from 'vitest';
import type { Language } from '../../../src/contract/results.ts';
import { findGo } from '../../../src/engine/sandbox/interpreters.ts';
import type { RunResult } from '../../../src/engine/sandbox/local-sandbox.ts';
import { thisMachine } from '../../../src/engine/sandbox/machine.ts';
import { countOf } from '../../support/guest-processes.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const { launch } = useLauncher();

type Case = { says: string; language: Language; code: string; expected: Partial<RunResult> };

const runs: Case[] = [
  {
    says: 'prints',
    language: 'python',
    code: 'print("héllo ✓")',
    expected: { stdout: 'héllo ✓\n', exitCode: 0 },
  },
  {
    says: 'gives the last value',
    language: 'python',
    code: 'x = 41\nx + 1',
    expected: { result: '42', stdout: '' },
  },
  { says: 'gives no value for None', language: 'python', code: 'print(1)', expected: { stdout: '1\n' } },
  { says: 'gives no value for a statement', language: 'python', code: 'x = 5', expected: { exitCode: 0 } },
  { says: 'runs nothing', language: 'python', code: '', expected: { exitCode: 0, stdout: '', stderr: '' } },
  {
    says: 'awaits at the top level',
    language: 'python',
    code: 'import asyncio\nawait asyncio.sleep(0)\nawait asyncio.sleep(0, "woke")',
    expected: { result: "'woke'" },
  },
  {
    says: 'shows the line that failed, and no line of ours',
    language: 'python',
    code: 'def f():\n    return 1 / 0\nf()',
    expected: {
      exitCode: 1,
      stderr: expect.stringMatching(/^Traceback[\s\S]*return 1 \/ 0[\s\S]*ZeroDivisionError/),
    },
  },
  {
    says: 'shows syntax errors',
    language: 'python',
    code: 'x = = 1',
    expected: {
      exitCode: 1,
      stderr: expect.stringMatching(/^ {2}File "<execution 1>", line 1[\s\S]*SyntaxError/),
    },
  },
  {
    says: 'shows nothing of the event loop',
    language: 'python',
    code: 'import asyncio\nawait asyncio.sleep(0)\n1 / 0',
    expected: {
      exitCode: 1,
      stderr: expect.stringMatching(/^Traceback.*\n {2}File "<execution 1>", line 3/),
    },
  },
  {
    says: 'ends with the code of sys.exit',
    language: 'python',
    code: 'import sys; sys.exit(3)',
    expected: { exitCode: 3 },
  },
  { says: 'knows exit()', language: 'python', code: 'exit(4)', expected: { exitCode: 4 } },
  {
    says: 'prints the text of sys.exit',
    language: 'python',
    code: 'import sys; sys.exit("no")',
    expected: { exitCode: 1, stderr: 'no\n' },
  },
  {
    says: 'has nobody to ask',
    language: 'python',
    code: 'input()',
    expected: { exitCode: 1, stderr: expect.stringContaining('EOFError') },
  },
  {
    says: 'pickles classes of the code',
    language: 'python',
    code: 'import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))).__name__',
    expected: { result: "'A'" },
  },
  {
    says: 'runs a pool of processes',
    language: 'python',
    code: 'import multiprocessing as m\ndef f(x): return x * x\nwith m.get_context("fork").Pool(2) as p: r = p.map(f, [1, 2, 3])\nr',
    expected: { result: '[1, 4, 9]' },
  },
  {
    says: 'survives a fork that comes out at the end',
    language: 'python',
    code: 'import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint("parent" if pid else "child")',
    expected: { stdout: 'child\nparent\n', exitCode: 0 },
  },
  {
    says: 'takes lone surrogates',
    language: 'python',
    code: '"\\ud800"',
    expected: { result: "'\\ud800'" },
  },
  {
    says: 'gives rich output',
    language: 'python',
    code: [
      'class Rich:',
      '    def __repr__(self): return "rich"',
      '    def _repr_png_(self): return b"png"',
      '    def _repr_svg_(self): return "<svg/>"',
      '    def _repr_html_(self): return "<b>1</b>"',
      '    def _repr_markdown_(self): return "**1**"',
      '    def _repr_json_(self): return {"one": [1]}',
      'Rich()',
    ].join('\n'),
    expected: {
      result: 'rich',
      png: Buffer.from('png').toString('base64'),
      svg: '<svg/>',
      html: '<b>1</b>',
      markdown: '**1**',
      json: { one: [1] },
    },
  },
  {
    says: 'shows open figures and closes them',
    language: 'python',
    code: [
      'import sys, types',
      'closed = []',
      'plt = types.ModuleType("matplotlib.pyplot")',
      'class Figure:',
      '    def savefig(self, file, **options): file.write(b"figure")',
      'plt.get_fignums = lambda: [] if closed else [1]',
      'plt.figure = lambda number: Figure()',
      'plt.close = closed.append',
      'sys.modules["matplotlib.pyplot"] = plt',
    ].join('\n'),
    expected: { png: Buffer.from('figure').toString('base64') },
  },
  {
    says: 'prints',
    language: 'bash',
    code: 'echo "hi $((6*7))"; echo no >&2',
    expected: { stdout: 'hi 42\n', stderr: 'no\n' },
  },
  { says: 'ends with its code', language: 'bash', code: 'exit 3', expected: { exitCode: 3 } },
  { says: 'ends as signals do', language: 'bash', code: 'kill -TERM $$', expected: { exitCode: 143 } },
  {
    says: 'fails for an unknown command',
    language: 'bash',
    code: 'no-such-thing',
    expected: { exitCode: 127 },
  },
  { says: 'has an empty stdin', language: 'bash', code: 'cat; echo end', expected: { stdout: 'end\n' } },
  {
    says: 'may kill its whole process group',
    language: 'bash',
    code: 'kill -KILL 0',
    expected: { exitCode: 137 },
  },
  {
    says: 'takes a script longer than an argument may be',
    language: 'bash',
    code: `${'# filler\n'.repeat(40_000)}echo long`,
    expected: { stdout: 'long\n' },
  },
  {
    says: 'prints',
    language: 'javascript',
    code: 'console.log(6 * 7)',
    expected: { stdout: '42\n', stderr: '' },
  },
  {
    says: 'requires',
    language: 'javascript',
    code: 'const { basename } = require("path"); console.log(basename("/a/b"))',
    expected: { stdout: 'b\n', stderr: '' },
  },
  {
    says: 'imports and awaits',
    language: 'javascript',
    code: 'import { basename } from "node:path"; console.log(await Promise.resolve(basename("/a/b")))',
    expected: { stdout: 'b\n', stderr: '' },
  },
  {
    says: 'fails with the error',
    language: 'javascript',
    code: 'throw new Error("boom")',
    expected: { exitCode: 1, stderr: expect.stringContaining('Error: boom') },
  },
  {
    says: 'takes code larger than a pipe',
    language: 'javascript',
    code: `${'// filler\n'.repeat(40_000)}console.log("long")`,
    expected: { stdout: 'long\n' },
  },
  {
    says: 'prints',
    language: 'go',
    code: 'package main\nimport "fmt"\nfunc main() { fmt.Println(6 * 7) }',
    expected: { stdout: '42\n', stderr: '' },
  },
  {
    says: 'fails with the exit code of the program',
    language: 'go',
    code: 'package main\nimport "os"\nfunc main() { os.Exit(3) }',
    expected: { exitCode: 3 },
  },
  {
    says: 'fails with what the compiler says',
    language: 'go',
    code: 'package main\nfunc main() { nothing() }',
    expected: {
      exitCode: expect.any(Number),
      stderr: expect.stringContaining('main.go:2:15: undefined: nothing'),
    },
  },
];

const languages = ['python', 'bash', 'javascript', 'go'] as const;
const hasGo = findGo(thisMachine()) !== undefined;
if (!hasGo) process.stderr.write('not run: programs in Go, which is not installed\n');
const isThere = (language: (typeof languages)[number]) => language !== 'go' || hasGo;

describe.each(languages.filter(isThere))('%s', (language) => {
  test.each(runs.filter((row) => row.language === language))('$says', async ({ code, expected }) => {
    const sandbox = await launch();
    const result = await sandbox.run(request(language, code));
    expect(result).toMatchObject({ exitCode: 0, variablesLost: false, truncated: [], ...expected });
    expect(Object.keys(result)).not.toContain('endedBy');
    expect(result.stderr).not.toContain('agent.py');
    for (const kind of ['result', 'png', 'html'] as const) {
      if (!(kind in expected)) expect(result[kind]).toBeUndefined();
    }
  });
});

test('keeps variables, imports and the event loop between Python runs', async () => {
  const sandbox = await launch();
  const results: (string | undefined)[] = [];
  for (const code of [
    'import asyncio, math\nx = 41',
    'x + 1',
    'async def later(): return math.floor(x / 2)\ntask = asyncio.create_task(later())\nawait asyncio.sleep(0)',
    'await task',
    'raise ValueError',
    'x',
  ]) {
    results.push((await sandbox.run(request('python', code))).result);
  }
  expect(results).toEqual([undefined, '42', undefined, '20', undefined, '41']);
});

test('runs Python in the order asked, each with its own output', async () => {
  const sandbox = await launch();
  await sandbox.run(request('python', 'seen = []'));
  const results = await Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      sandbox.run(request('python', `seen.append(${index}); print(${index})`)),
    ),
  );
  expect(results.map(({ stdout }) => stdout)).toEqual(Array.from({ length: 20 }, (_, index) => `${index}\n`));
  expect((await sandbox.run(request('python', 'seen == list(range(20))'))).result).toBe('True');
});

test('runs the other languages side by side', async () => {
  const sandbox = await launch();
  // Each waits for what the other does.
  const [one, other] = await Promise.all([
    sandbox.run(request('bash', 'mkfifo /tmp/a; echo hello > /tmp/a; echo sent')),
    sandbox.run(request('bash', 'until [ -p /tmp/a ]; do sleep 0.01; done; cat /tmp/a')),
  ]);
  expect([one.stdout, other.stdout]).toEqual(['sent\n', 'hello\n']);
});

test.each(languages.filter(isThere))('applies env and workdir to one %s run', async (language) => {
  const show = {
    python: 'import os\nprint(os.environ.get("WHO"), os.getcwd())',
    bash: 'echo $(printenv WHO || echo None) $PWD',
    javascript: 'console.log(process.env.WHO ?? "None", process.cwd())',
    go: `package main
import ("fmt"; "os")
func main() {
  who, found := os.LookupEnv("WHO")
  if !found { who = "None" }
  place, _ := os.Getwd()
  fmt.Println(who, place)
}`,
  } as const;
  const sandbox = await launch();
  await sandbox.run(request('bash', 'mkdir -p sub'));
  const inside = await sandbox.run(request(language, show[language], { env: { WHO: 'me' }, workdir: 'sub' }));
  const after = await sandbox.run(request(language, show[language]));
  expect([inside.stdout, after.stdout]).toEqual(['me /workspace/sub\n', 'None /workspace\n']);
});

test('refuses a workdir that is not there, by name', async () => {
  const sandbox = await launch();
  await expect(sandbox.run(request('bash', 'pwd', { workdir: '/nowhere' }))).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('/nowhere'),
  });
});

test('does not wait for background processes, which live on', async () => {
  const sandbox = await launch();
  const code = 'yes & (while :; do date +%N > /tmp/beat; sleep 0.01; done) & echo up >&2';
  const started = await sandbox.run(request('bash', code));
  expect(started).toMatchObject({ stderr: 'up\n', exitCode: 0 });
  expect(started.endedBy).toBeUndefined();
  const look = 'a=$(cat /tmp/beat); sleep 0.1; [ "$a" != "$(cat /tmp/beat)" ] && echo alive';
  expect((await sandbox.run(request('bash', look))).stdout).toBe('alive\n');
});

test('streams output as it comes; the pieces are the whole', async () => {
  const sandbox = await launch();
  const heard: string[] = [];
  let gotFirst = () => {};
  const first = new Promise<void>((resolve) => {
    gotFirst = resolve;
  });
  const run = sandbox.run(request('bash', 'echo one; until [ -e go ]; do sleep 0.01; done; echo two'), {
    onOutput(stream, text) {
      heard.push(`${stream}:${text}`);
      gotFirst();
    },
  });
  await first;
  expect(heard).toEqual(['stdout:one\n']);
  await sandbox.writeFile('go', Buffer.alloc(0));
  expect((await run).stdout).toBe('one\ntwo\n');
  expect(heard).toEqual(['stdout:one\n', 'stdout:two\n']);
});

test.each([
  { says: 'leaves', code: 'import os; os._exit(5)', exitCode: 5 },
  { says: 'crashes', code: 'import ctypes; ctypes.string_at(0)', exitCode: 139 },
  { says: 'kills itself', code: 'import os; os.kill(os.getpid(), 9)', exitCode: 137 },
  { says: 'closes its channel', code: 'import os; os.closerange(3, 1000)', exitCode: expect.any(Number) },
])('starts a new kernel after one that $says', async ({ code, exitCode }) => {
  const sandbox = await launch();
  await sandbox.run(request('python', 'x = 1'));
  expect(await sandbox.run(request('python', `print("before")\n${code}`))).toMatchObject({
    stdout: 'before\n',
    exitCode,
    variablesLost: true,
  });
  expect(await sandbox.run(request('python', '"x" in globals()'))).toMatchObject({
    result: 'False',
    variablesLost: false,
  });
});

test('says so when the kernel died between runs', async () => {
  const sandbox = await launch();
  await sandbox.run(
    request('python', 'x = 1\nimport os, threading\nthreading.Timer(0.05, os._exit, [1]).start()'),
  );
  await sandbox.run(request('bash', 'sleep 0.2'));
  expect(await sandbox.run(request('python', '1'))).toMatchObject({ result: '1', variablesLost: true });
  expect(await sandbox.run(request('python', '1'))).toMatchObject({ variablesLost: false });
});

test.each(['python', 'bash'] as const)(
  'goes on after a %s run killed all that it could',
  async (language) => {
    const sandbox = await launch();
    await sandbox.run(request('python', 'x = 1'));
    const code = { python: 'import os; os.kill(-1, 9)', bash: 'kill -KILL -1' } as const;
    // It spares itself and the agent, so the run may end in peace before its supervisor is missed.
    await sandbox.run(request(language, code[language]));
    expect((await sandbox.run(request('bash', 'echo fine'))).stdout).toBe('fine\n');
    expect((await sandbox.run(request('python', '"x" in globals()'))).result).toBe('False');
  },
);

test('takes any number of runs that leave something behind', async () => {
  const sandbox = await launch();
  for (let index = 0; index < 100; index++) {
    expect((await sandbox.run(request('bash', 'sleep 0.5 & echo up'))).stdout).toBe('up\n');
  }
  // Each takes two processes: its own, and its supervisor.
  await expect.poll(async () => (await sandbox.run(request('bash', countOf('sleep')))).stdout).toBe('0\n');
});

test('destroys once and for all, and tells those who wait', async () => {
  const sandbox = await launch();
  const running = sandbox.run(request('bash', 'sleep 100'));
  const failed = expect(running).rejects.toMatchObject({
    code: 'RESOURCE_NOT_FOUND',
    facts: { outcome: 'unknown' },
  });
  await sandbox.destroy();
  await sandbox.destroy();
  await failed;
  expect(await sandbox.ended).toBe('destroyed');
  await expect(sandbox.run(request('bash', 'true'))).rejects.toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
  await expect(sandbox.readFile('x')).rejects.toMatchObject({ code: 'RESOURCE_NOT_FOUND' });
});
