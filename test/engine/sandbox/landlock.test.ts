import { spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { isReadableInside } from '../../../src/engine/sandbox/interpreters.ts';
import { openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { thisMachine } from '../../../src/engine/sandbox/machine.ts';
import { copyNode } from '../../../src/engine/sandbox/node-copy.ts';
import { descendants } from '../../../src/engine/sandbox/process-tree.ts';
import { rungs } from '../../../src/engine/sandbox/rungs.ts';
import { SANDBOX_DIRECTORY_PREFIX } from '../../../src/engine/sandbox/sandbox-directory.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const isRoot = process.getuid?.() === 0;
const capabilities = /^CapEff:\s+(\w+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
const seesOthers = !isRoot || (BigInt(`0x${capabilities}`) >> 19n) % 2n === 1n;
const byLandlock = rungs.filter(({ madeBy }) => madeBy === 'landlock');
const MIB = 1024 * 1024;

/** Of this server's sandboxes, on the disk. */
const directories = () =>
  readdirSync(tmpdir()).filter((name) => name.startsWith(`${SANDBOX_DIRECTORY_PREFIX}${process.pid}-`));

describe('a sandbox without namespaces', () => {
  const limits = { workspaceBytes: 8 * MIB, tmpBytes: 8 * MIB, files: 500, headChars: 1000, tailChars: 1000 };
  const { launch } = useLauncher({ rungs: byLandlock, limits });

  test('has its files where the tools look for them', async () => {
    const sandbox = await launch();
    await sandbox.writeFile('/workspace/data/in.txt', Buffer.from('in'));
    await sandbox.writeFile('/tmp/scratch', Buffer.from('scratch'));
    const code = 'cat data/in.txt "$TMPDIR/scratch"; echo out > out.txt; ln -s data link';
    const run = await sandbox.run(request('bash', code));
    expect(run).toMatchObject({
      stdout: 'inscratch',
      stderr: '',
      artifacts: [{ path: '/workspace/out.txt', size: 4 }],
    });
    expect(String(await sandbox.readFile('/workspace/out.txt'))).toBe('out\n');
    expect(String(await sandbox.readFile('out.txt'))).toBe('out\n');
    expect(String(await sandbox.readFile('/workspace/link/../link/in.txt'))).toBe('in');
    const inside = await sandbox.run(request('bash', 'pwd', { workdir: '/workspace/data' }));
    expect(inside.stdout).toMatch(/\/workspace\/data\n$/);
    // And where code says that they are.
    expect(String(await sandbox.readFile(`${inside.stdout.trim()}/in.txt`))).toBe('in');
    expect(
      (await sandbox.run(request('python', 'import os; os.getcwd()', { workdir: '/tmp' }))).result,
    ).toMatch(/\/tmp'$/);
    await expect(sandbox.run(request('bash', 'pwd', { workdir: '/workspace/none' }))).rejects.toThrow(
      'not a directory in the sandbox: /workspace/none',
    );
  });

  test('has its directory to itself, and nothing of the machine', async () => {
    const sandbox = await launch();
    await expect(sandbox.readFile('/etc/hostname')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(sandbox.readFile('../../etc/hostname')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    const code = 'for f in agent bin . ; do (: > "$HOME/../$f/x") 2>/dev/null && exit; done; echo held';
    expect((await sandbox.run(request('bash', code))).stdout).toBe('held\n');
  });

  test('has the names of its modules to itself', async () => {
    const sandbox = await launch();
    await sandbox.writeFile('/workspace/files.py', Buffer.from('answer = 42'));
    expect((await sandbox.run(request('python', 'import files; files.answer'))).result).toBe('42');
    expect((await sandbox.run(request('python', 'import output'))).stderr).toContain('ModuleNotFoundError');
  });

  test('keeps a long output where code can read it', async () => {
    const sandbox = await launch();
    const { truncated } = await sandbox.run(request('bash', 'seq 1 2000'));
    const file = truncated[0]?.fullOutputPath ?? '';
    expect((await sandbox.run(request('bash', `tail -n 1 ${file}`))).stdout).toBe('2000\n');
    expect(String(await sandbox.readFile(file))).toMatch(/\n2000\n$/);
  });

  test('runs what starts other programs', async () => {
    const sandbox = await launch();
    const javascript = `
      const { execSync, spawnSync } = require('node:child_process');
      console.log(execSync('echo one').toString().trim(), spawnSync('cat', { input: 'two' }).stdout.toString());`;
    expect((await sandbox.run(request('javascript', javascript))).stdout).toBe('one two\n');
    const python = `
import asyncio, subprocess, tempfile, shutil
async def main():
    child = await asyncio.create_subprocess_exec("echo", "one", stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0]
with tempfile.NamedTemporaryFile() as file:
    shutil.copy2(file.name, "copy")
asyncio.run(main()), subprocess.run("echo two | cat", shell=True, capture_output=True).stdout`;
    expect((await sandbox.run(request('python', python))).result).toBe(`(b'one\\n', b'two\\n')`);
  });

  test('sees and touches nothing of another one', async () => {
    const [one, other] = [await launch(), await launch()];
    const mine = 'echo mine > mine; pwd; sleep 987 >/dev/null & echo $!';
    const [directory, pid] = (await one.run(request('bash', mine))).stdout.split('\n');
    const look = `cat ${directory}/mine; ls ${directory}; (: > ${directory}/yours); kill ${pid}; kill -0 ${pid}; true`;
    const seen = await other.run(request('bash', look));
    expect(seen.stdout).toBe('');
    expect(seen.stderr).toMatch(/denied[\s\S]*denied[\s\S]*denied[\s\S]*not permitted[\s\S]*not permitted/);
    // Its own it may end, from one run to the next.
    expect((await one.run(request('bash', `ls; kill ${pid} && echo ended`))).stdout).toBe('mine\nended\n');
  });

  test('spares its supervisor, whatever signal code sends', async () => {
    const sandbox = await launch();
    const agent = sandbox.processes()[0]?.pid;
    const attempts = [`-KILL ${agent}`, `-STOP ${agent}`, '-KILL -- -1', `-KILL -- -${agent}`];
    const code = `${attempts.map((each) => `kill ${each} && exit`).join('; ')}; echo held`;
    expect((await sandbox.run(request('bash', code))).stdout).toBe('held\n');
    const python = `
import fcntl, os, signal, socket, struct, time
agent = ${agent}
def kill_by_input(name_agent):
    here, there = socket.socketpair()
    name_agent(here)
    fcntl.fcntl(here, 10, signal.SIGKILL)
    fcntl.fcntl(here, fcntl.F_SETFL, fcntl.fcntl(here, fcntl.F_GETFL) | os.O_ASYNC)
    there.send(b"x")
def kill_peer():
    for fd in range(256):
        try: pidfd = socket.socket(fileno=os.dup(fd)).getsockopt(socket.SOL_SOCKET, 77)
        except OSError as error: refusal = error
        else: signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    raise refusal
for attempt in (
    lambda: os.pidfd_open(agent),
    lambda: kill_by_input(lambda here: fcntl.fcntl(here, 8, agent)),
    lambda: kill_by_input(lambda here: fcntl.fcntl(here, 15, struct.pack("ii", 1, agent))),
    lambda: kill_by_input(lambda here: fcntl.ioctl(here, 0x8901, struct.pack("i", agent))),
    lambda: kill_by_input(lambda here: fcntl.ioctl(here, 0x8902, struct.pack("i", -agent))),
    kill_peer,
):
    try: print("sent", attempt())
    except OSError: print("held")`;
    expect((await sandbox.run(request('python', python))).stdout).toBe('held\n'.repeat(6));
    expect((await sandbox.run(request('bash', 'echo alive'))).stdout).toBe('alive\n');
  });

  test('stops what runs too long, with all that it started', async () => {
    const sandbox = await launch();
    const marker = `1${process.pid}.5`;
    const code = `setsid sh -c '(setsid sleep ${marker} &)'; sleep ${marker}`;
    expect(await sandbox.run(request('bash', code, { timeoutMs: 300 }))).toMatchObject({
      endedBy: 'timeout',
    });
    expect(sandbox.processes().filter(({ command }) => command.includes(marker))).toEqual([]);
    expect((await sandbox.run(request('python', '6 * 7'))).result).toBe('42');
  });

  test.each([
    ['bytes', 'while :; do head -c 1M /dev/zero >> a; sleep 0.01; done'],
    ['bytes below /tmp', 'while :; do head -c 1M /dev/zero >> "$TMPDIR/a"; sleep 0.01; done'],
    ['files', 'n=0; while :; do : > $((n += 1)); sleep 0.001; done'],
    [
      'where nobody else can look',
      'mkdir -m 300 a; cd a; while :; do head -c 1M /dev/zero >> a; sleep 0.01; done',
    ],
  ])('is ended when it takes too much of the disk: %s', async (_says, code) => {
    const sandbox = await launch();
    expect(await sandbox.run(request('bash', code))).toMatchObject({ endedBy: 'memory' });
    expect(await sandbox.ended).toBe('memory');
  });

  test.skipIf(!seesOthers)('the same of files without a name, where root has CAP_SYS_PTRACE', async () => {
    const sandbox = await launch();
    const code = 'exec 3> a; rm a; while :; do head -c 1M /dev/zero >&3; sleep 0.01; done';
    expect(await sandbox.run(request('bash', code))).toMatchObject({ endedBy: 'memory' });
  });

  test('leaves nothing on the disk, however it was arranged', async () => {
    const sandbox = await launch();
    const [directory = ''] = directories();
    const code = `
import os
os.mkdir("closed", 0o700)
os.mkdir("closed/a")
os.symlink("/usr", "closed/link")
for _ in range(300):
    os.mkdir("a" * 100)
    os.chdir("a" * 100)
`;
    expect((await sandbox.run(request('python', code))).stderr).toBe('');
    expect((await sandbox.run(request('bash', 'mkdir -m 0 shut'))).stderr).toBe('');
    await sandbox.destroy();
    expect(existsSync(path.join(tmpdir(), directory))).toBe(false);
    expect(existsSync('/usr/bin/env')).toBe(true);
  });

  test('has no terminal, and says so', async () => {
    const sandbox = await launch();
    const { signal } = new AbortController();
    const terminal = sandbox.openTerminal({ env: {}, signal, onOutput: async () => {} });
    await expect(terminal.ended).rejects.toThrow('can have no terminal');
    expect((await sandbox.run(request('bash', 'echo alive'))).stdout).toBe('alive\n');
  });
});

test('internet access is refused with what would make it possible', async () => {
  const launcher = await openLauncher({ rungs: byLandlock, poolSize: 0 });
  onTestFinished(() => launcher.close());
  await expect(launcher.launch({ id: 'a', internetAccess: true })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringMatching(/^internet_access: .*Leave it out\. .*HOPX_API_KEY/),
  });
});

test('says whose processes they are, and what is weaker', async () => {
  const launcher = await openLauncher({ rungs: byLandlock, poolSize: 0 });
  onTestFinished(() => launcher.close());
  expect(launcher.isolation).toMatch(/^Landlock rules .*without namespaces.*shared with this machine\.$/);
  expect(launcher.isolation).toContain(isRoot ? 'as an unprivileged user' : 'as the user of this server');
});

describe('in a container of Docker', () => {
  let bundle = '';
  // Whoever is no longer root cannot enter the home where Node may lie.
  const node = isReadableInside(thisMachine(), process.execPath)
    ? { file: process.execPath, remove() {} }
    : copyNode(process.execPath);
  afterAll(() => {
    rmSync(bundle, { recursive: true });
    node.remove();
  });
  beforeAll(async () => {
    bundle = mkdtempSync(path.join(tmpdir(), 'hopx-like-docker-'));
    const input = fileURLToPath(new URL('server-to-kill.ts', import.meta.url));
    const file = path.join(bundle, 'server.mjs');
    await build({ input, platform: 'node', output: { file, format: 'esm' } });
    cpSync('src/engine/guest', path.join(bundle, 'guest'), { recursive: true });
    chmodSync(bundle, 0o755);
  });

  const script = fileURLToPath(new URL('../../support/like-docker.py', import.meta.url));
  const serverAs = (uid: number, marker: string, ...options: readonly string[]) => {
    const command = [script, ...options, `${uid}`, node.file, path.join(bundle, 'server.mjs'), marker];
    const child = spawn('/usr/bin/python3', command, { cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    return child;
  };
  const ownUid = process.getuid?.() ?? 0;

  test.each(isRoot ? [0, 65_534] : [ownUid])(
    'this is the rung that works, as uid %i, and a killed server leaves nothing of it',
    async (uid) => {
      const marker = `1${process.pid}.${Date.now()}`;
      const child = serverAs(uid, marker);
      const said = await new Promise<string>((resolve) =>
        child.stdout.once('data', (text) => resolve(`${text}`)),
      );
      expect(said).toMatch(/^descriptors: 0 1 2\nLandlock rules/);
      const commandOf = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      const sleeper = () =>
        descendants(child.pid ?? 0).find((pid) => commandOf(pid) === `sleep\0${marker}\0`);
      // Its shell goes on before it has begun.
      await expect.poll(sleeper).toBeDefined();
      const pid = sleeper();
      child.kill('SIGKILL');
      await expect.poll(() => existsSync(`/proc/${pid}`), { timeout: 2000, interval: 10 }).toBe(false);
      const left = () =>
        readdirSync(tmpdir()).filter((name) => name.startsWith(`hopx-sandbox-${child.pid}-`));
      await expect.poll(left, { timeout: 2000, interval: 10 }).toEqual([]);
    },
  );

  test('nothing runs where Landlock is missing too', async () => {
    const child = serverAs(ownUid, '1', '--without-landlock');
    const [said, complained] = await Promise.all([text(child.stdout), text(child.stderr)]);
    expect(said).toBe('');
    expect(complained).toContain('ENGINE_UNAVAILABLE');
  });
});
