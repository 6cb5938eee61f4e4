import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Language } from '../../../src/contract/results.ts';
import { countInState } from '../../support/guest-processes.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const { launch } = useLauncher();

let markers = 0;

/** A number of seconds to sleep that no other process on this machine sleeps. */
function newMarker(): string {
  markers += 1;
  return `1${process.pid}.${Date.now()}${markers}`;
}

/** Processes of this machine with the marker in their command line. */
function alive(marker: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    })
    .filter((line) => line.startsWith('sleep') && line.includes(marker));
}

const forks = `
import os, signal, sys, time
def daemon():
    child = os.fork()
    if child: return os.waitpid(child, 0)
    os.setsid()
    if os.fork(): os._exit(0)
    for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)
    os.execvp("sleep", ["sleep", "MARKER"])
`;

const stubborn: {
  says: string;
  language: Language;
  code: string;
  /** Undefined where it depends on how busy this machine is. */
  keepsVariables: boolean | undefined;
}[] = [
  { says: 'an endless loop', language: 'python', code: 'while True: pass', keepsVariables: true },
  { says: 'a sleep', language: 'python', code: 'import time\ntime.sleep(100)', keepsVariables: true },
  {
    says: 'a wait for a child',
    language: 'python',
    code: 'import subprocess\nsubprocess.run(["sleep", "MARKER"])',
    keepsVariables: true,
  },
  {
    says: 'a daemon that was forked twice and ignores signals',
    language: 'python',
    code: `${forks}\ndaemon()\nwhile True: time.sleep(1)`,
    keepsVariables: true,
  },
  {
    says: 'a loop that swallows the interrupt',
    language: 'python',
    code: `${forks}\ndaemon()\nwhile True:\n  try:\n    while True: time.sleep(0.001)\n  except BaseException: pass`,
    keepsVariables: false,
  },
  {
    says: 'a kernel that blocks all signals',
    language: 'python',
    code: 'import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass',
    keepsVariables: false,
  },
  { says: 'an endless loop', language: 'bash', code: 'while :; do :; done', keepsVariables: true },
  {
    says: 'a shell that ignores signals',
    language: 'bash',
    code: "trap '' INT TERM HUP; sleep MARKER; sleep MARKER; sleep MARKER",
    keepsVariables: true,
  },
  {
    says: 'daemons of their own sessions',
    language: 'bash',
    code: '(setsid sh -c "trap \'\' TERM; setsid sleep MARKER & setsid sleep MARKER & wait" &) ; sleep MARKER',
    keepsVariables: true,
  },
  {
    says: 'processes that are always replaced by a child',
    language: 'python',
    code: `${forks}\nfor _ in range(20):\n  child = os.fork()\n  if child == 0:\n    while True:\n      if os.fork(): os._exit(0)\n  os.waitpid(child, 0)\ndaemon()\nwhile True: time.sleep(1)`,
    keepsVariables: undefined,
  },
  { says: 'an endless loop', language: 'javascript', code: 'for (;;);', keepsVariables: true },
  {
    says: 'children of its own',
    language: 'javascript',
    code: 'process.on("SIGTERM", () => {}); require("child_process").spawn("sleep", ["MARKER"], { detached: true }); setInterval(() => {}, 1e6)',
    keepsVariables: true,
  },
];

const print = {
  python: 'print("so far")\n',
  bash: 'echo so far\n',
  javascript: 'console.log("so far");',
  go: '',
} as const;

describe.each([
  { how: 'timeout', exitCode: 124, withinMs: 1400 },
  { how: 'cancel', exitCode: 130, withinMs: 300 },
] as const)('$how', ({ how, exitCode, withinMs }) => {
  test.each(stubborn)(
    'ends $says in $language, and all it started',
    async ({ language, code, keepsVariables }) => {
      const marker = newMarker();
      const sandbox = await launch();
      await sandbox.run(request('python', 'x = 41'));
      const cancel = new AbortController();
      let stopAskedMs = Number.POSITIVE_INFINITY;
      const result = await sandbox.run(
        request(language, print[language] + code.replaceAll('MARKER', marker), {
          timeoutMs: how === 'timeout' ? 500 : 20_000,
        }),
        {
          signal: cancel.signal,
          onOutput() {
            // Time for the rest of the code to start what it starts.
            if (how === 'cancel') setTimeout(() => cancel.abort(), 200);
            stopAskedMs = performance.now() + (how === 'cancel' ? 200 : 500);
          },
        },
      );
      expect(performance.now() - stopAskedMs).toBeLessThan(withinMs);
      expect(result).toMatchObject({
        endedBy: how,
        exitCode,
        stdout: 'so far\n',
        variablesLost: keepsVariables === undefined ? expect.any(Boolean) : !keepsVariables,
      });
      await expect.poll(() => alive(marker), { timeout: 200, interval: 5 }).toEqual([]);
      const after = await sandbox.run(request('python', '"x" in globals()'));
      expect(after).toMatchObject({ result: result.variablesLost ? 'False' : 'True', variablesLost: false });
      // The agent, the kernel and its supervisor; the supervisor of this run and its shell.
      const left = async () => Number((await sandbox.run(request('bash', countInState('!Z')))).stdout);
      await expect.poll(left, { timeout: 1000 }).toBeLessThanOrEqual(5);
    },
  );
});

test('spares what earlier runs left in the background', async () => {
  const marker = newMarker();
  const sandbox = await launch();
  await sandbox.run(request('bash', `sleep ${marker} &`));
  await sandbox.run(request('python', `import subprocess\nsubprocess.Popen(["sleep", "${marker}"]).pid > 0`));
  // Start times have a resolution of 10 ms.
  await sandbox.run(request('bash', 'sleep 0.05'));
  await sandbox.run(request('bash', 'sleep 100', { timeoutMs: 50 }));
  await sandbox.run(request('python', 'import time\ntime.sleep(100)', { timeoutMs: 50 }));
  expect(alive(marker)).toHaveLength(2);
});

test.each(['python', 'bash'] as const)('reaps the orphans of a %s run', async (language) => {
  const code = {
    python:
      'import os\nif os.fork() == 0:\n  for _ in range(9): os.fork()\n  os._exit(0)\nos.wait()\nimport time\ntime.sleep(0.1)',
    bash: 'for n in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 &); done; sleep 0.1',
  } as const;
  const sandbox = await launch();
  await sandbox.run(request(language, code[language]));
  const zombies = async () => (await sandbox.run(request('bash', countInState('Z')))).stdout;
  await expect.poll(zombies, { timeout: 1000 }).toBe('0\n');
});

test('lets a Python run clean up when it is interrupted', async () => {
  const sandbox = await launch();
  const code = 'import time\ntry: time.sleep(100)\nfinally: print("cleaned up")';
  const result = await sandbox.run(request('python', code, { timeoutMs: 100 }));
  expect(result).toMatchObject({ stdout: 'cleaned up\n', endedBy: 'timeout', variablesLost: false });
});

test('a run cancelled while it waits for its turn never starts', async () => {
  const sandbox = await launch();
  const first = sandbox.run(request('python', 'import time\ntime.sleep(0.3)'));
  const cancel = new AbortController();
  const second = sandbox.run(request('python', 'touched = True'), { signal: cancel.signal });
  const third = sandbox.run(request('python', '"touched" in globals()'));
  cancel.abort();
  expect(await second).toMatchObject({ endedBy: 'cancel', exitCode: 130, executionTimeMs: 0 });
  await first;
  expect((await third).result).toBe('False');
});

test('a run with a signal that is aborted already never starts', async () => {
  const sandbox = await launch();
  for (const language of ['python', 'bash'] as const) {
    const result = await sandbox.run(request(language, 'print(1)'), { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ endedBy: 'cancel', stdout: '' });
  }
});

test('ends a fork bomb, and the sandbox goes on', async () => {
  const sandbox = await launch();
  const result = await sandbox.run(request('bash', 'f() { f | f & }; f; sleep 100', { timeoutMs: 1000 }));
  expect(result).toMatchObject({ endedBy: 'timeout' });
  expect(result.executionTimeMs).toBeLessThan(3500);
  expect((await sandbox.run(request('bash', 'echo fine'))).stdout).toBe('fine\n');
});
