import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, expect, onTestFinished, test } from 'vitest';
import { childrenOf, descendants, residentBytes } from '../../../src/engine/sandbox/process-tree.ts';
import { createWatchdog } from '../../../src/engine/sandbox/watchdog.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const MIB = 1024 * 1024;
// RLIMIT_DATA is as high as the watchdog's limit, so what goes over it must be shared or in several processes.
const { launch } = useLauncher({ limits: { memoryBytes: 384 * MIB } });

const shared = 'import mmap\nm = mmap.mmap(-1, 2 << 30)\nfor at in range(0, 2 << 30, 4096): m[at] = 1';
const crowd =
  'import os, time\nfor _ in range(8):\n  if os.fork() == 0:\n    b = bytearray(100 << 20)\n    time.sleep(100)\nwhile True: time.sleep(1)';

function killGroup(leader: number): void {
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // All of it ended.
  }
}

test('ends a Python run that takes shared memory without end', async () => {
  const sandbox = await launch();
  await sandbox.run(request('python', 'x = 1'));
  const result = await sandbox.run(request('python', `print("so far")\n${shared}`));
  expect(result).toMatchObject({ endedBy: 'memory', exitCode: 137, stdout: 'so far\n', variablesLost: true });
  expect(await sandbox.run(request('python', '"x" in globals()'))).toMatchObject({
    result: 'False',
    variablesLost: false,
  });
});

test('ends a bash run that takes shared memory without end', async () => {
  const sandbox = await launch();
  await sandbox.run(request('python', 'x = 1'));
  await sandbox.writeFile('eat.py', Buffer.from(shared));
  const result = await sandbox.run(request('bash', 'exec python3 eat.py'));
  expect(result).toMatchObject({ endedBy: 'memory', exitCode: 137, variablesLost: false });
  expect((await sandbox.run(request('python', 'x'))).result).toBe('1');
});

test('keeps many processes together under the limit', async () => {
  const sandbox = await launch();
  await sandbox.run(request('python', crowd, { timeoutMs: 1500 }));
  const result = await sandbox.run(request('bash', 'echo fine'));
  expect(result.stdout).toBe('fine\n');
});

test('counts what forks share only once', async () => {
  const sandbox = await launch();
  const family =
    'import os, time\nb = bytearray(200 << 20)\nfor at in range(0, len(b), 4096): b[at] = 1\npids = []\nfor _ in range(4):\n  pid = os.fork()\n  if pid == 0:\n    time.sleep(0.7)\n    os._exit(0)\n  pids.append(pid)\n[os.waitpid(pid, 0)[1] for pid in pids]';
  expect(await sandbox.run(request('python', family))).toMatchObject({ exitCode: 0, result: '[0, 0, 0, 0]' });
});

test('looks after background processes too', async () => {
  const sandbox = await launch();
  await sandbox.writeFile('eat.py', Buffer.from(`${shared}\nimport time\ntime.sleep(100)`));
  await sandbox.run(request('bash', '(sleep 0.3; exec python3 eat.py) >/dev/null 2>&1 &'));
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect(
    (await sandbox.run(request('bash', 'grep -lsa "[e]at.py" /proc/[0-9]*/cmdline || echo none'))).stdout,
  ).toBe('none\n');
});

test('looks while one short run follows the other', async () => {
  const eat = `python3 -c 'import time; b = b"1" * (20 << 20); time.sleep(100)'; echo ended`;
  const root = spawn('/bin/bash', ['-c', eat], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  const { pid: rootPid = 0 } = root;
  const watchdog = createWatchdog({
    ...{ rootPid, agentPid: () => undefined, limitBytes: 10 * MIB, onAgentOverLimit() {} },
    ...{ busyPollMs: 50, idlePollMs: 3_600_000 },
  });
  const runs = setInterval(() => {
    watchdog.runStarted();
    watchdog.runEnded();
  }, 5);
  onTestFinished(() => {
    clearInterval(runs);
    watchdog.stop();
    killGroup(rootPid);
  });
  const [line] = await once(createInterface(root.stdout), 'line');
  expect(line).toBe('ended');
});

test.each([
  { says: 'alone', forks: 0 },
  { says: 'beside memory that forks share', forks: 4 },
])('counts page tables, which belong to no memory that a process holds, $says', async ({ forks }) => {
  // One byte read of every 2 MiB: the page is the zero page, its table takes 4 KiB.
  const tables = [
    'import ctypes, mmap, os, time',
    'shared = b"1" * (20 << 20)',
    `for _ in range(${forks}):`,
    '  if os.fork() == 0: time.sleep(100)',
    'm = mmap.mmap(-1, 64 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)',
    'm.madvise(mmap.MADV_NOHUGEPAGE)',
    'for at in range(0, 64 << 30, 2 << 20): m[at]',
    'print(flush=True)',
    'time.sleep(100)',
  ].join('\n');
  const root = spawn('/bin/bash', ['-c', 'python3 -c "$1"; echo ended', 'bash', tables], {
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const { pid: rootPid = 0 } = root;
  const lines = createInterface(root.stdout)[Symbol.asyncIterator]();
  await lines.next();
  const onAgentOverLimit = () => {};
  const watchdog = createWatchdog({
    ...{ rootPid, agentPid: () => undefined, limitBytes: 100 * MIB, onAgentOverLimit, idlePollMs: 10 },
  });
  onTestFinished(() => {
    watchdog.stop();
    killGroup(rootPid);
  });
  expect((await lines.next()).value).toBe('ended');
  expect(watchdog.killedSince(0)).toBe(true);
});

describe('while processes are measured', () => {
  /** Two processes that are well over the limit below, each the child of a shell. */
  const startPair = async () => {
    const eat = `python3 -c 'import time; b = b"1" * (20 << 20); print(flush=True); time.sleep(100)'`;
    const root = spawn('/bin/bash', ['-c', `(${eat}; true) & (${eat}; true) & wait`], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const { pid: rootPid = 0 } = root;
    onTestFinished(() => killGroup(rootPid));
    const lines = createInterface(root.stdout)[Symbol.asyncIterator]();
    for (let count = 0; count < 2; count += 1) await lines.next();
    const large = () => descendants(rootPid).filter((pid) => residentBytes(pid) > 20 * MIB);
    return { rootPid, large };
  };
  const watch = (rootPid: number, proportionalBytes: (pid: number) => Promise<number | undefined>) => {
    const watchdog = createWatchdog({
      ...{ rootPid, proportionalBytes, agentPid: () => undefined, onAgentOverLimit() {} },
      ...{ limitBytes: 10 * MIB, idlePollMs: 5 },
    });
    onTestFinished(() => watchdog.stop());
    return watchdog;
  };
  const passes = (timeMs: number) => new Promise((resolve) => setTimeout(resolve, timeMs));

  test('one is at a time, and none when all is well', async () => {
    const { rootPid, large } = await startPair();
    let atOnce = 0;
    let most = 0;
    let measured = 0;
    watch(rootPid, async () => {
      atOnce += 1;
      most = Math.max(most, atOnce);
      await passes(30);
      atOnce -= 1;
      measured += 1;
      return 0;
    });
    await expect.poll(() => measured, { timeout: 5000 }).toBeGreaterThan(4);
    expect(most).toBe(1);
    expect(large()).toHaveLength(2);
  });

  test('nothing is killed once the watch is over', async () => {
    const { rootPid, large } = await startPair();
    const measuring = new EventEmitter();
    const asked = once(measuring, 'asked');
    const replied = once(measuring, 'reply');
    const watchdog = watch(rootPid, async () => {
      measuring.emit('asked');
      await replied;
      return 1024 * MIB;
    });
    await asked;
    watchdog.stop();
    measuring.emit('reply');
    await passes(100);
    expect(large()).toHaveLength(2);
    expect(watchdog.killedSince(0)).toBe(false);
  });

  test('none is killed that has left', async () => {
    const { rootPid, large } = await startPair();
    const [one = 0, other = 0] = large();
    const measuring = new EventEmitter();
    const asked = once(measuring, 'asked');
    const replied = once(measuring, 'reply');
    watch(rootPid, async () => {
      measuring.emit('asked');
      await replied;
      return 1024 * MIB;
    });
    await asked;
    // Its child is now that of another, as a process would be that got its pid.
    const parent = childrenOf(rootPid).find((pid) => childrenOf(pid).includes(one));
    process.kill(parent ?? 0, 'SIGKILL');
    await expect.poll(large).toEqual([other]);
    measuring.emit('reply');
    await expect.poll(large).toEqual([]);
    expect(residentBytes(one)).toBeGreaterThan(20 * MIB);
  });

  test('a measurement without end does not keep it from killing', async () => {
    const { rootPid, large } = await startPair();
    watch(rootPid, () => new Promise(() => {}));
    await expect.poll(large, { timeout: 5000 }).toEqual([]);
  });

  test('this process goes on with its work', async () => {
    const family = [
      'import mmap, os, time',
      'm = mmap.mmap(-1, 300 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)',
      'm.madvise(mmap.MADV_NOHUGEPAGE)',
      'for at in range(0, 300 << 20, 4096): m[at] = 1',
      'for _ in range(24):',
      '  if os.fork() == 0: time.sleep(100)',
      'print(flush=True)',
      'time.sleep(100)',
    ].join('\n');
    const root = spawn('/bin/bash', ['-c', 'python3 -c "$1"; true', 'bash', family], {
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const { pid: rootPid = 0 } = root;
    onTestFinished(() => killGroup(rootPid));
    await createInterface(root.stdout)[Symbol.asyncIterator]().next();
    const watchdog = createWatchdog({
      ...{ rootPid, agentPid: () => undefined, onAgentOverLimit() {}, limitBytes: 700 * MIB },
    });
    onTestFinished(() => watchdog.stop());
    watchdog.runStarted();
    await passes(100);
    const before = performance.eventLoopUtilization();
    await passes(1000);
    // Measured on this thread it is 1.
    expect(performance.eventLoopUtilization(before).utilization).toBeLessThan(0.5);
    expect(descendants(rootPid)).toHaveLength(25);
  });
});

test('kills the largest first, spares the agent, and says when only that is left', async () => {
  const eat = (mebibytes: number) =>
    `python3 -c 'import time; b = b"1" * (${mebibytes} << 20); time.sleep(100)' &`;
  const script = `${eat(120)} echo $!; ${eat(80)} echo $!; wait`;
  const root = spawn('/bin/bash', ['-c', script], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  const { pid: rootPid = 0 } = root;
  onTestFinished(() => killGroup(rootPid));
  const pids: string[] = [];
  for await (const line of createInterface(root.stdout)) {
    pids.push(line);
    if (pids.length === 2) break;
  }
  const [agent, other] = pids.map(Number);
  const memory = () => descendants(rootPid).map(residentBytes);
  await expect.poll(() => Math.min(...memory()), { timeout: 5000 }).toBeGreaterThan(80 * MIB);

  const startedMs = performance.now();
  const overLimit = new Promise<void>((resolve) => {
    const onAgentOverLimit = () => {
      watchdog.stop();
      resolve();
    };
    const options = {
      rootPid,
      agentPid: () => agent,
      limitBytes: 100 * MIB,
      onAgentOverLimit,
      busyPollMs: 10,
    };
    const watchdog = createWatchdog(options);
    watchdog.runStarted();
    expect(watchdog.killedSince(startedMs)).toBe(false);
  });
  await overLimit;
  await expect.poll(() => descendants(rootPid)).toEqual([agent]);
  expect(agent).not.toBe(other);
});

test.each([
  { language: 'python', code: 'b = bytearray(1 << 30)', stderr: 'MemoryError', exitCode: 1 },
  {
    language: 'javascript',
    code: 'const a = []; for (;;) a.push(new Array(1e5).fill({}))',
    stderr: 'heap',
    exitCode: 134,
  },
] as const)('gives $language a readable error first', async ({ language, code, stderr, exitCode }) => {
  const sandbox = await launch();
  const result = await sandbox.run(request(language, code));
  expect(result).toMatchObject({ exitCode, stderr: expect.stringContaining(stderr), variablesLost: false });
  expect(result.endedBy).toBeUndefined();
});
