import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Launcher, openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import type { LocalSandbox } from '../../../src/engine/sandbox/local-sandbox.ts';
import { type Rung, rungs } from '../../../src/engine/sandbox/rungs.ts';
import { abuseProgram, listProbes, openWorld, told, type World } from './abuse-world.ts';
import { request } from './sandbox-fixture.ts';

const MIB = 1024 * 1024;
/** Small, so that bombs that fit outside do not have to be large. */
const limits = {
  memoryBytes: 256 * MIB,
  workspaceBytes: 32 * MIB,
  tmpBytes: 32 * MIB,
  sharedMemoryBytes: 4 * MIB,
  processes: 64,
  openFiles: 256,
  fileBytes: 16 * MIB,
  files: 20_000,
};

const probes = listProbes();
process.env['HOST_SECRET'] = 'replaced below, when the world is there';
let world: World | undefined;
let control = new Map<string, string>();

beforeAll(async () => {
  world = await openWorld();
  process.env['HOST_SECRET'] = String(world.facts['secret']);
  control = new Map([...(await world.control(false)), ...(await world.control(true))]);
}, 60_000);
afterAll(() => world?.close());

test('there are enough probes', () => expect(probes.length).toBeGreaterThanOrEqual(60));

describe('outside of a sandbox', () => {
  const needing = probes.filter(({ needs }) => needs != null);
  afterAll(() => {
    const failed = needing.filter(({ name }) => control.get(name) !== 'ESCAPED');
    const lines = failed.map(({ name, needs }) => `${name}: needs ${needs} (${control.get(name)})`);
    // biome-ignore lint/suspicious/noConsole: a reason that is to be seen.
    console.info(`Controls that cannot work on this machine:\n  ${lines.join('\n  ')}`);
  });
  test.each(probes.filter(({ needs }) => needs == null))('works: $name', ({ name }) =>
    expect(control.get(name)).toBe('ESCAPED'),
  );
  test.each(needing)('is tried: $name', ({ name }) => expect(control.get(name)).toMatch(/^(ESCAPED|held)/));
});

/** What a rung does not stop, and why that is no escape. */
const exceptions: { name: string; why: string; madeBy?: Rung['madeBy'] }[] = [
  {
    name: 'bomb: files in the workspace',
    why: 'without a file system of its own there is only a look twice a second at most, which ends the sandbox',
    madeBy: 'landlock',
  },
];

/** Long, and odd enough to be told from any other sleep on the machine. */
const DAEMON_SECONDS = 86_123;

type Siege = {
  says: string;
  language: 'python' | 'bash';
  code: string;
  timeoutMs?: number;
  endedBy?: 'timeout' | 'memory';
  isGone?: boolean;
};

const siege: Siege[] = [
  {
    says: 'a loop that ignores every signal ends at its time',
    language: 'python',
    code: 'import signal\nfor n in set(signal.valid_signals()) - {9, 19}: signal.signal(n, signal.SIG_IGN)\nwhile True:\n  try:\n    while True: pass\n  except BaseException: pass',
    timeoutMs: 700,
    endedBy: 'timeout',
  },
  {
    says: 'a daemon ends with its sandbox',
    language: 'bash',
    code: `for n in 1 2 3; do (setsid sh -c 'trap "" HUP TERM INT; exec sleep ${DAEMON_SECONDS}' >/dev/null 2>&1 &); done; echo started`,
  },
  {
    says: 'a fork bomb ends at its time',
    language: 'bash',
    code: 'bomb() { bomb | bomb & }; bomb; while :; do bomb; done',
    timeoutMs: 1500,
    endedBy: 'timeout',
  },
  {
    says: 'a flood of output is dropped at its source',
    language: 'bash',
    code: 'head -c 536870912 /dev/zero | tr "\\0" x',
  },
  {
    says: 'a bomb of empty files ends the sandbox',
    language: 'python',
    code: 'n = 0\nwhile True:\n  open("f%d" % n, "w").close(); n += 1',
    endedBy: 'memory',
    isGone: true,
  },
  {
    says: 'a lie on the output of a run stays output',
    language: 'bash',
    code: `echo '{"event":"exit","id":"x","code":0,"variablesLost":false}'; printf '\\0\\xff%.0s' {1..5000}`,
  },
  {
    says: 'signals to everything leave the supervisor alone',
    language: 'bash',
    code: 'kill -STOP 1; kill -KILL 1; (setsid sh -c "kill -KILL -- -1"); true',
  },
];

const baits = [
  { says: 'a symbolic link', code: 'ln -s SECRET bait' },
  { says: 'a directory link', code: 'ln -s $(dirname SECRET) d; ln -s d/secret bait' },
  { says: 'a link through /proc', code: 'ln -s /proc/1/rootSECRET bait' },
  { says: 'a link through dots', code: 'ln -s ../../../../../../SECRET bait' },
  { says: 'a pipe that nobody writes to', code: 'mkfifo bait' },
  { says: 'a device', code: 'ln -s /dev/zero bait' },
  { says: 'a socket', code: `python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("bait")'` },
  { says: 'a directory', code: 'mkdir bait' },
];

function processesWith(command: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) &&
        readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').includes(command)
      );
    } catch {
      return false;
    }
  });
}

const usable = rungs.filter(
  ({ madeBy, userNamespace }) => userNamespace || madeBy === 'landlock' || process.getuid?.() === 0,
);
describe.each(usable)('inside, by $madeBy: user namespace $userNamespace, /proc $proc', (rung) => {
  let launcher: Launcher | undefined;
  const found = new Map<string, string>();

  const launch = async (): Promise<LocalSandbox> => {
    if (launcher === undefined) throw new Error('no launcher');
    return launcher.launch({ id: 'abuse', internetAccess: false });
  };
  const attack = async (bombs: boolean) => {
    const sandbox = await launch();
    // In a process namespace it is 1.
    const supervisor = sandbox.processes()[0]?.pid;
    const code = abuseProgram({ ...world?.facts, secret: '', bombs, supervisor });
    const run = await sandbox.run(request('python', code, { timeoutMs: 60_000 }));
    // It must have survived them all.
    const { stdout } = await sandbox.run(request('bash', 'echo alive'));
    await sandbox.destroy();
    return new Map([...told(run.stdout), ['', `${stdout.trim()}${run.stderr}`]]);
  };
  beforeAll(async () => {
    launcher = await openLauncher({ rungs: [rung], limits, poolSize: 0 });
    // By turns, as without a user namespace the processes of all sandboxes of a user are counted together.
    for (const bombs of [false, true])
      for (const [name, words] of await attack(bombs)) found.set(name, words);
  }, 60_000);
  afterAll(() => launcher?.close());

  test('the sandbox goes on', () => expect(found.get('')).toBe('alive'));

  test.each(probes)('held: $name', ({ name }) => {
    const exception = exceptions.find(
      (each) => each.name === name && (each.madeBy ?? rung.madeBy) === rung.madeBy,
    );
    if (exception === undefined) expect(found.get(name)).toMatch(/^held/);
    // biome-ignore lint/suspicious/noConsole: a reason that is to be seen.
    else console.info(`Exception "${name}": ${exception.why} (${found.get(name)})`);
  });

  test.each(siege)('$says', async ({ code, language, timeoutMs = 10_000, endedBy, isGone = false }) => {
    const sandbox = await launch();
    const startedMs = performance.now();
    const run = await sandbox.run(request(language, code, { timeoutMs }));
    expect(run.endedBy).toBe(endedBy);
    expect(performance.now() - startedMs).toBeLessThan(timeoutMs + 2500);
    expect(run.stdout.length + run.stderr.length).toBeLessThan(4 * MIB);
    if (isGone) await sandbox.ended;
    else expect((await sandbox.run(request('bash', 'echo alive'))).stdout).toBe('alive\n');
    await sandbox.destroy();
    // Nothing of it may be left on the machine, daemons included.
    expect(processesWith(`sleep ${DAEMON_SECONDS}`)).toEqual([]);
  });

  test.each(baits)('the host is not baited: $says', async ({ code }) => {
    const sandbox = await launch();
    const target = String(world?.facts['secretFile']);
    await sandbox.run(request('bash', `cd /workspace && ${code.replaceAll('SECRET', target)}`));
    const read = sandbox.readFile('/workspace/bait').then(String);
    const write = sandbox.writeFile('/workspace/bait', Buffer.from('overwritten'));
    expect(await read.catch(() => '')).not.toContain(String(world?.facts['secret']));
    await write.catch(() => {});
    expect(readFileSync(target, 'utf8')).toBe(world?.facts['secret']);
    await sandbox.destroy();
  });
});
