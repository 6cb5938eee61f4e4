import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { descendants, readProc } from '../../../src/engine/sandbox/process-tree.ts';
import { rungs } from '../../../src/engine/sandbox/rungs.ts';
import { countOf } from '../../support/guest-processes.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const isRoot = process.getuid?.() === 0;

process.env['SANDBOX_TEST_SECRET'] = 'of the host';

/** Readable by everybody, so that only the sandbox can stand before it. */
const hostDirectory = mkdtempSync(path.join(tmpdir(), 'hopx-host-'));
writeFileSync(path.join(hostDirectory, 'secret'), 'of the host', { mode: 0o644 });
afterAll(() => rmSync(hostDirectory, { recursive: true }));

const server = createServer((socket) => socket.end('of the host'));
let port = 0;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
  const address = server.address();
  port = typeof address === 'object' && address !== null ? address.port : 0;
});
afterAll(() => server.close());

const address = () =>
  Object.values(networkInterfaces())
    .flat()
    .find((entry) => entry?.internal === false)?.address ?? '127.0.0.1';

// Each prints "held" where the sandbox holds.
const probes: { says: string; code: () => string }[] = [
  {
    says: 'files of the host',
    code: () => `[ ! -e ${hostDirectory} ] && [ ! -e ${process.cwd()} ] && echo held`,
  },
  { says: 'home directories', code: () => '[ -z "$(ls -A /root /home 2>/dev/null)" ] && echo held' },
  {
    says: 'the password file',
    code: () => '[ ! -e /etc/shadow ] && [ "$(wc -l < /etc/passwd)" = 2 ] && echo held',
  },
  {
    says: 'the environment',
    code: () => '! env | grep -q SECRET && ! cat /proc/*/environ 2>/dev/null | grep -q SECRET && echo held',
  },
  { says: 'descriptors of the server', code: () => '[ "$(ls /proc/self/fd | wc -l)" = 4 ] && echo held' },
  {
    says: 'the loopback of the host',
    code: () => `! (exec 3<>/dev/tcp/127.0.0.1/${port}) 2>/dev/null && echo held`,
  },
  { says: 'the network', code: () => `! (exec 3<>/dev/tcp/${address()}/${port}) 2>/dev/null && echo held` },
  {
    says: 'writes outside',
    code: () => 'for d in / /usr /etc /dev /opt /run; do touch $d/x 2>/dev/null && exit; done; echo held',
  },
  {
    says: 'uid 0',
    code: () =>
      '[ "$(id -u)" != 0 ] && [ "$(grep ^CapEff /proc/self/status | cut -f2)" = 0000000000000000 ] && echo held',
  },
  {
    says: 'new privileges',
    code: () =>
      'grep -q "^NoNewPrivs:.1" /proc/self/status && grep -q "^Seccomp:.2" /proc/self/status && echo held',
  },
  { says: 'nested namespaces', code: () => '! unshare -Ur true 2>/dev/null && echo held' },
  {
    says: 'the memory of the agent',
    code: () => '! cat /proc/1/maps 2>/dev/null && ! ls /proc/1/fd 2>/dev/null && echo held',
  },
  {
    says: 'signals to the agent',
    code: () => 'for n in INT TERM HUP KILL STOP SEGV; do kill -$n 1 2>/dev/null; done; echo held',
  },
  {
    says: 'vsock and packet sockets',
    code: () => `python3 -c '
import socket
for family in (40, 17, 38):
    try: socket.socket(family, socket.SOCK_STREAM); break
    except OSError: pass
else: print("held")'`,
  },
  {
    says: 'setuid programs',
    code: () => 'grep -q " / .*nosuid" /proc/mounts && grep -q " /usr .*ro,nosuid" /proc/mounts && echo held',
  },
  {
    says: 'more shared memory than its cap',
    code: () => '! head -c 100M /dev/zero > /dev/shm/x 2>/dev/null && echo held',
  },
];

const withoutProc = new Set(['new privileges', 'setuid programs', 'uid 0', 'descriptors of the server']);

/** Landlock has tests of its own. */
const namespaced = rungs.filter(
  ({ madeBy, userNamespace }) => madeBy !== 'landlock' && (isRoot || userNamespace),
);

describe.each(namespaced)('by $madeBy, user namespace: $userNamespace, /proc: $proc', (rung) => {
  const { launch } = useLauncher({ rungs: [rung] });

  test.each(probes.filter(({ says }) => rung.proc || !withoutProc.has(says)))(
    'keeps out of reach: $says',
    async ({ code }) => {
      const sandbox = await launch();
      expect((await sandbox.run(request('bash', code()))).stdout).toBe('held\n');
      expect((await sandbox.run(request('python', '6 * 7'))).result).toBe('42');
    },
  );

  test('runs each language, and stops what runs too long', async () => {
    const sandbox = await launch();
    expect((await sandbox.run(request('javascript', 'console.log(1)'))).stdout).toBe('1\n');
    expect(await sandbox.run(request('bash', 'echo so far; sleep 100', { timeoutMs: 200 }))).toMatchObject({
      endedBy: 'timeout',
      stdout: 'so far\n',
    });
    expect(await sandbox.run(request('python', 'while True: pass', { timeoutMs: 200 }))).toMatchObject({
      endedBy: 'timeout',
    });
    await sandbox.writeFile('a', Buffer.from('text'));
    expect((await sandbox.run(request('bash', 'cat a; echo more >> a && echo >> /tmp/b'))).stdout).toBe(
      'text',
    );
  });
});

describe('a sandbox', () => {
  const { launch } = useLauncher();

  test('is to this machine neither root nor, where the server is root, the same user as another', async () => {
    const uids: number[] = [];
    for (let index = 0; index < 2; index++) {
      const sandbox = await launch();
      const marker = `1${process.pid}.${index}`;
      await sandbox.run(request('bash', `sleep ${marker} &`));
      // The shell ends before the program has begun, and while that gets a new parent it is nobody's.
      let pid: number | undefined;
      const findProgram = () => {
        pid = descendants(process.pid).find(
          (found) => readProc(`/proc/${found}/cmdline`) === `sleep\0${marker}\0`,
        );
        return pid;
      };
      await expect.poll(findProgram).toBeDefined();
      uids.push(Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]));
    }
    expect(uids).not.toContain(0);
    expect(new Set(uids).size).toBe(isRoot ? 2 : 1);
  });

  test('sees nothing of another one', async () => {
    const [one, other] = [await launch(), await launch()];
    await one.run(request('bash', 'touch /workspace/mine /tmp/mine /dev/shm/mine; sleep 987 &'));
    const look = `ls /workspace /tmp /dev/shm; ${countOf('sleep')}`;
    expect((await other.run(request('bash', look))).stdout).not.toMatch(/mine|^1$/m);
    expect((await one.run(request('bash', look))).stdout).toMatch(/mine[\s\S]*^1$/m);
  });

  test('sees only its own processes', async () => {
    const sandbox = await launch();
    const { stdout } = await sandbox.run(request('bash', 'ls -d /proc/[0-9]* | wc -l'));
    expect(Number(stdout)).toBeLessThan(10);
  });

  test('leaves nothing when it is destroyed', async () => {
    const before = descendants(process.pid).length;
    const sandbox = await launch();
    await sandbox.run(request('bash', 'for n in 1 2 3 4 5; do setsid sleep 100 & done'));
    expect(descendants(process.pid).length).toBeGreaterThan(before + 5);
    await sandbox.destroy();
    expect(descendants(process.pid).length).toBeLessThanOrEqual(before);
  });
});

test.each(['bubblewrap', 'python', 'landlock'])(
  'by %s: nothing outlives a server that is killed, and nothing of the server reaches inside',
  async (madeBy) => {
    const marker = `1${process.pid}.${Date.now()}`;
    // As it is shipped: one bundle, with the agent beside it.
    const file = path.join(hostDirectory, 'server.mjs');
    const input = fileURLToPath(new URL('server-to-kill.ts', import.meta.url));
    await build({ input, platform: 'node', output: { file, format: 'esm' } });
    cpSync('src/engine/guest', path.join(hostDirectory, 'guest'), { recursive: true });
    // A descriptor that is not closed on exec, as a careless parent of the server may leave one.
    const command = [
      '-c',
      `exec 77<${hostDirectory}/secret; exec "$0" "$@"`,
      process.execPath,
      file,
      marker,
      madeBy,
    ];
    const child = spawn('/bin/bash', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    const said = await new Promise<string>((resolve) =>
      child.stdout.once('data', (text) => resolve(`${text}`)),
    );
    expect(said).toMatch(/^descriptors: 0 1 2\n/);
    await expect.poll(() => sleepers(marker).length, { interval: 10 }).toBe(1);
    child.kill('SIGKILL');
    await expect.poll(() => sleepers(marker), { timeout: 2000, interval: 10 }).toEqual([]);
    await expect.poll(() => directoriesOf(child.pid), { timeout: 2000, interval: 10 }).toEqual([]);
  },
);

/** What lies on the disk for the sandboxes of a server. */
function directoriesOf(pid: number | undefined): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith(`hopx-sandbox-${pid}-`));
}

function sleepers(marker: string): string[] {
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8') === `sleep\0${marker}\0`;
    } catch {
      return false;
    }
  });
}
