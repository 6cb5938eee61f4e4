import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Controller, findHierarchies } from '../../../src/engine/sandbox/cgroup-hierarchies.ts';
import { limitedBy, openCgroups } from '../../../src/engine/sandbox/cgroups.ts';
import { openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { thisMachine } from '../../../src/engine/sandbox/machine.ts';
import { descendants } from '../../../src/engine/sandbox/process-tree.ts';
import { newMark, processesWith } from '../../support/built-server.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const MIB = 1024 * 1024;
const limits = {
  memoryBytes: 96 * MIB,
  workspaceBytes: 16 * MIB,
  tmpBytes: 16 * MIB,
  sharedMemoryBytes: 0,
  processes: 20,
};
const cgroups = await openCgroups(thisMachine(), limits);
const hierarchies = findHierarchies(thisMachine());
const places = hierarchies.map(({ directory }) => directory);

/** Cgroups of sandboxes that are there, those of other servers too. */
const present = () =>
  places.flatMap((place) => readdirSync(place).filter((name) => name.startsWith('hopx-')));
const own = () => present().filter((name) => name.startsWith(`hopx-${process.pid}-`));

const isWithout = cgroups === undefined;
const isLimited = (name: Controller) => cgroups?.limited.includes(name) ?? false;
if (isWithout) process.stderr.write(`not run:${limitedBy(cgroups)} for this user of this machine\n`);

describe.skipIf(isWithout)('a cgroup', () => {
  /** A process that does as it is told once it is held. */
  async function held(command: string, ...args: string[]) {
    const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'pipe'] });
    onTestFinished(async () => {
      // What is stopped forks no more.
      child.kill('SIGSTOP');
      for (const pid of descendants(child.pid ?? 0)) process.kill(pid, 'SIGKILL');
      child.kill('SIGKILL');
      await cgroup?.remove();
    });
    const cgroup = cgroups?.confine(child.pid ?? 0);
    await cgroup?.hold();
    child.stdin.write('\n');
    return { child, cgroup };
  }
  const complaint = async ({ stderr }: Awaited<ReturnType<typeof held>>['child']) => {
    for await (const chunk of stderr) return String(chunk);
    return '';
  };

  test.skipIf(!isLimited('pids'))('holds a fork bomb', async () => {
    const mark = newMark();
    const bomb = `read _; while :; do sleep ${mark} & done`;
    const { child } = await held('/bin/bash', '-c', bomb);
    expect(await complaint(child)).toContain('Resource temporarily unavailable');
    await expect.poll(() => processesWith(mark).length).toBe(limits.processes - 1);
  });

  test.skipIf(!isLimited('pids'))('holds a thread bomb', async () => {
    const bomb =
      'import threading, time\ninput()\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()';
    const { child } = await held('/usr/bin/python3', '-c', bomb);
    expect(await complaint(child)).toContain('Traceback');
    expect(readdirSync(`/proc/${child.pid}/task`)).toHaveLength(limits.processes);
  });

  test.skipIf(!isLimited('memory'))(
    'has the kernel kill what takes too much memory, and counts it',
    async () => {
      const { child, cgroup } = await held('/usr/bin/python3', '-c', 'input(); b"1" * (400 << 20)');
      const [, signal] = await once(child, 'exit');
      expect(signal).toBe('SIGKILL');
      expect(cgroup?.memoryKills()).toBe(1);
    },
  );

  test('holds what was started before it as well, and is gone in the end', async () => {
    const mark = newMark();
    const child = spawn('/bin/bash', ['-c', `sleep ${mark} & sleep ${mark} & wait`]);
    await expect.poll(() => processesWith(mark)).toHaveLength(2);
    const cgroup = cgroups?.confine(child.pid ?? 0);
    await cgroup?.hold();
    for (const place of places) {
      const [name = ''] = readdirSync(place).filter((each) => own().includes(each));
      const pids = readFileSync(path.join(place, name, 'cgroup.procs'), 'utf8')
        .trim()
        .split('\n');
      expect(pids.sort()).toEqual([`${child.pid}`, ...processesWith(mark)].sort());
    }
    for (const pid of [...processesWith(mark).map(Number), child.pid ?? 0]) process.kill(pid, 'SIGKILL');
    await cgroup?.remove();
    expect(own()).toEqual([]);
  });

  test('of a server that is no more is taken away by the next, and of no other', async () => {
    const [, start] = /^hopx-\d+-(\d+)-/.exec(await nameOfOwn()) ?? [];
    const dead = ['hopx-999999999-1-1', `hopx-${process.pid}-1-1`];
    const living = `hopx-${process.pid}-${start}-999`;
    const paths = (names: readonly string[]) =>
      names.flatMap((name) => places.map((place) => path.join(place, name)));
    for (const directory of paths([...dead, living])) mkdirSync(directory);
    await openCgroups(thisMachine(), limits);
    expect(paths(dead).filter((directory) => existsSync(directory))).toEqual([]);
    for (const directory of paths([living])) rmdirSync(directory);
  });

  async function nameOfOwn(): Promise<string> {
    await held('/bin/cat');
    return own()[0] ?? '';
  }
});

const limitsOf = ({ isolation }: { isolation: string }) =>
  /; with(?:out)? cgroup limits[^;.]*/.exec(isolation)?.[0];

test('a server that may not make cgroups says so', async () => {
  const machine = thisMachine();
  const readText = (file: string) => (file === '/proc/self/cgroup' ? '' : machine.readText(file));
  const launcher = await openLauncher({ machine: { ...machine, readText } });
  expect(limitsOf(launcher)).toBe('; without cgroup limits');
  await launcher.close();
});

test.skipIf(isWithout)('one that may says what it limits', async () => {
  const launcher = await openLauncher();
  expect(limitsOf(launcher)).toBe(limitedBy(cgroups));
  expect(limitedBy(cgroups)).toMatch(
    /^; with cgroup limits on (memory|processes|the share of CPU|, | and )+ \(v[12]( and v[12])?\)$/,
  );
  await launcher.close();
});

test.skipIf(isWithout)('one that leaves takes the cgroups of its spare sandboxes along', async () => {
  const launcher = await openLauncher({ poolSize: 2 });
  const sandbox = await launcher.launch({ id: 'a', internetAccess: false });
  await expect.poll(() => new Set(own()).size).toBe(3);
  await sandbox.destroy();
  await launcher.close();
  expect(own()).toEqual([]);
});

describe('a sandbox', () => {
  // The kernel does not have to wait long.
  const { launch } = useLauncher({ limits: { ...limits, memoryBytes: 48 * MIB, processes: 64 } });

  /** How often the kernel has ended something in the only sandbox there is. */
  const kills = () => {
    const { directory = '', version } = hierarchies.find((each) => each.controllers.includes('memory')) ?? {};
    const file = version === 2 ? 'memory.events' : 'memory.oom_control';
    const text = readFileSync(path.join(directory, own()[0] ?? '', file), 'utf8');
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1]);
  };

  // What lies in sockets belongs to the kernel; the watchdog does not see it.
  const fill = `
import os, socket
pairs = []
try:
  while True:
    pairs.append(socket.socketpair())
    for end in pairs[-1]:
      end.setblocking(False)
      try:
        while True: end.send(bytes(65536))
      except BlockingIOError: pass
except OSError: pass
print("filled", flush=True)
os.read(os.pipe()[0], 1)`;

  test.skipIf(!isLimited('memory'))('goes on without programs that fill memory of no process', async () => {
    const sandbox = await launch();
    await sandbox.writeFile('bomb.py', Buffer.from(fill));
    const bomb = 'for n in 1 2 3 4 5 6 7 8; do python3 bomb.py & done; exec python3 bomb.py';
    const result = await sandbox.run(request('bash', bomb, { timeoutMs: 8000 }));
    expect(result).toMatchObject({ endedBy: 'memory', exitCode: 137 });
    expect(kills()).toBeGreaterThan(0);
    // The kernel takes a moment to get all of it back.
    const listed = async () => (await sandbox.run(request('bash', 'ls'))).stdout;
    await expect.poll(listed, { timeout: 5_000 }).toBe('bomb.py\n');
  });

  test.skipIf(!isLimited('memory'))(
    'tells of what the kernel ended as of what the watchdog ends',
    async () => {
      const sandbox = await launch();
      await sandbox.run(request('python', 'x = 1'));
      const result = await sandbox.run(request('python', `print("so far", flush=True)\n${fill}`));
      expect(result).toMatchObject({
        ...{ endedBy: 'memory', exitCode: 137, stdout: 'so far\n', variablesLost: true },
      });
      expect(kills()).toBeGreaterThan(0);
    },
  );

  test.skipIf(isWithout)('has all of its processes in a cgroup, which goes with it', async () => {
    const mark = newMark();
    const [sandbox] = await Promise.all([launch(), launch(), launch()]);
    await sandbox.run(request('bash', `setsid sleep ${mark} & sleep ${mark} &`));
    await sandbox.run(request('python', `import subprocess; subprocess.Popen(["sleep", "${mark}"])`));
    await expect.poll(() => processesWith(mark)).toHaveLength(3);
    const held = processesWith(mark).map((pid) => readFileSync(`/proc/${pid}/cgroup`, 'utf8'));
    for (const text of held) expect(text.match(/hopx-\d+-\d+-\w+$/gm)).toHaveLength(places.length);
    expect(new Set(own())).toHaveLength(3);
    await sandbox.destroy();
    expect(new Set(own())).toHaveLength(2);
  });
});
