import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { build } from 'rolldown';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { SANDBOX_DIRECTORY_PREFIX } from '../../../src/engine/sandbox/sandbox-directory.ts';
import { seatbeltProfile } from '../../../src/engine/sandbox/seatbelt.ts';
import { newMark, processesWith } from '../../support/built-server.ts';
import { likeMacos } from '../../support/like-macos.ts';
import { request, useLauncher } from './sandbox-fixture.ts';

const MIB = 1024 * 1024;
const mac = likeMacos();
afterAll(mac.remove);

/** Of a server's sandboxes, on the disk. */
const directories = (pid = process.pid) =>
  readdirSync(tmpdir()).filter((name) => name.startsWith(`${SANDBOX_DIRECTORY_PREFIX}${pid}-`));

describe('a sandbox on something like a Mac', () => {
  const limits = { memoryBytes: 300 * MIB, workspaceBytes: 8 * MIB, tmpBytes: 8 * MIB, files: 500 };
  const { launch } = useLauncher({ ...mac, limits });

  test('runs code, with its files where the tools look for them', async () => {
    const sandbox = await launch();
    await sandbox.writeFile('/workspace/data/in.txt', Buffer.from('in'));
    const code = 'cat data/in.txt | tr a-z A-Z; echo out > out.txt; mktemp >/dev/null';
    expect(await sandbox.run(request('bash', code))).toMatchObject({
      stdout: 'IN',
      stderr: '',
      exitCode: 0,
      artifacts: [{ path: '/workspace/out.txt', size: 4 }],
    });
    expect(String(await sandbox.readFile('/workspace/out.txt'))).toBe('out\n');
    await sandbox.run(request('python', 'import multiprocessing.pool as pool; answer = 42'));
    expect((await sandbox.run(request('python', 'answer'))).result).toBe('42');
  });

  test('sees and touches nothing of another one, and nothing outside', async () => {
    const [one, other] = [await launch(), await launch()];
    const mine = 'echo mine > mine; pwd; sleep 987 >/dev/null & echo $!';
    const [directory, pid] = (await one.run(request('bash', mine))).stdout.split('\n');
    const look = `cat ${directory}/mine; ls ${directory}; (: > ${directory}/yours); kill ${pid}; cat ~/.profile /etc/shadow; ls /; true`;
    expect((await other.run(request('bash', `HOME=/root; ${look}`))).stdout).toBe('');
    expect((await one.run(request('bash', `ls; kill ${pid} && echo ended`))).stdout).toBe('mine\nended\n');
  });

  test('stops what runs too long, with all that it started', async () => {
    const sandbox = await launch();
    const mark = newMark();
    const code = `setsid env -i sh -c '(setsid sleep ${mark} &)'; sleep ${mark}`;
    expect(await sandbox.run(request('bash', code, { timeoutMs: 300 }))).toMatchObject({
      endedBy: 'timeout',
    });
    expect(processesWith(mark)).toEqual([]);
    expect((await sandbox.run(request('python', '6 * 7'))).result).toBe('42');
  });

  test('ends with all that it started when code ends its supervisor', async () => {
    const sandbox = await launch();
    const mark = newMark();
    const daemon = `(trap '' TERM HUP; exec setsid env -i sleep ${mark}) >/dev/null 2>&1 &`;
    await sandbox.run(request('bash', daemon));
    const [directory = ''] = directories();
    const agents = processesWith(path.join(tmpdir(), directory, 'agent/agent.pyc'));
    await expect(sandbox.run(request('bash', `kill -KILL ${agents.join(' ')}`))).rejects.toThrow();
    expect(await sandbox.ended).toBe('crashed');
    expect(processesWith(mark)).toEqual([]);
    expect(directories()).toEqual([]);
  });

  test('loses its largest processes when they hold too much memory, and goes on', async () => {
    const sandbox = await launch();
    const small = newMark();
    // Each of them less than a single process may have.
    const code = `sleep ${small} & exec python3 -c 'import os, time
size = 135 if os.fork() == 0 or os.fork() == 0 else 225
a = b"1" * (size << 20)
time.sleep(9)'`;
    expect(await sandbox.run(request('bash', code))).toMatchObject({ endedBy: 'memory' });
    expect(processesWith(small)).not.toEqual([]);
    expect((await sandbox.run(request('bash', 'echo alive'))).stdout).toBe('alive\n');
  });

  test('is ended when it takes too much of the disk', async () => {
    const sandbox = await launch();
    const code = 'while :; do head -c 1M /dev/zero >> a; sleep 0.01; done';
    expect(await sandbox.run(request('bash', code))).toMatchObject({ endedBy: 'memory' });
  });

  test('stands still while it is paused', async () => {
    const sandbox = await launch();
    const code = 'import time\nwhile True: open("count", "ab", 0).write(b"."); time.sleep(0.002)';
    await sandbox.run(request('bash', `python3 -c '${code}' >/dev/null 2>&1 &`));
    const [directory = ''] = directories();
    const counted = () =>
      statSync(path.join(tmpdir(), directory, 'workspace/count'), { throwIfNoEntry: false })?.size ?? 0;
    const growth = async () => {
      const before = counted();
      await setTimeout(50);
      return counted() - before;
    };
    await expect.poll(growth).toBeGreaterThan(0);
    sandbox.pause();
    await expect.poll(growth).toBe(0);
    sandbox.resume();
    await expect.poll(growth).toBeGreaterThan(0);
  });
});

test('says what is weaker, and has no network to give', async () => {
  const launcher = await openLauncher({ ...mac, poolSize: 0 });
  onTestFinished(() => launcher.close());
  expect(launcher.languages).toEqual(expect.arrayContaining(['python', 'javascript', 'bash']));
  expect(launcher.isolation).toMatch(/^A Seatbelt profile .*untried on a Mac.*shared with this machine\.$/);
  await expect(launcher.launch({ id: 'a', internetAccess: true })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringMatching(/^internet_access: .*Leave it out\. .*HOPX_API_KEY/),
  });
});

test('keeps to its directory where that has an odd name', async () => {
  const before = process.env['TMPDIR'];
  const odd = mkdtempSync(path.join(tmpdir(), 'hopx "ö\\ '));
  process.env['TMPDIR'] = odd;
  onTestFinished(() => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    rmSync(odd, { recursive: true });
  });
  const launcher = await openLauncher({ ...mac, poolSize: 0 });
  const sandbox = await launcher.launch({ id: 'a', internetAccess: false });
  expect((await sandbox.run(request('bash', 'touch a; ls; pwd'))).stdout).toContain(
    `a\n${odd}/hopx-sandbox-`,
  );
  await sandbox.destroy();
  await launcher.close();
});

describe('is refused, with another way to have sandboxes,', () => {
  const standIn = path.resolve('test/support/like-macos/sandbox-exec');
  /** A sandbox-exec that has more rules at the end of each profile. */
  const lax = (rules: string) =>
    `#!/bin/sh\nprofile="$2 ${rules}"\nshift 2\nexec ${standIn} -p "$profile" "$@"\n`;
  const cases = [
    { says: 'that cannot be run', program: 'exit 71', complaint: 'did not start' },
    { says: 'that knows none of the rules', program: lax('(allow nothing)'), complaint: 'unbound variable' },
    { says: 'that lets code read', program: lax('(allow file-read*)'), complaint: 'read a file' },
    { says: 'that lets code write', program: lax('(allow file-write*)'), complaint: 'write a file' },
    { says: 'that lets code connect', program: lax('(allow network*)'), complaint: 'connect to a server' },
    { says: 'that lets code signal', program: lax('(allow signal)'), complaint: 'signal a process' },
  ];

  test.each(cases)('a sandbox-exec $says', async ({ program, complaint }) => {
    const directory = mkdtempSync(path.join(tmpdir(), 'hopx-lax-'));
    const sandboxExec = path.join(directory, 'sandbox-exec');
    writeFileSync(sandboxExec, program, { mode: 0o755 });
    const laxMac = likeMacos({ sandboxExec });
    onTestFinished(() => {
      laxMac.remove();
      rmSync(directory, { recursive: true });
    });
    await expect(openLauncher(laxMac)).rejects.toMatchObject({
      code: 'ENGINE_UNAVAILABLE',
      message: expect.stringContaining(complaint),
      facts: { remediation: expect.stringContaining('Linux virtual machine or container') },
    });
  });

  test('a system on which the guard does not find its processes', async () => {
    const blind = 'own_pids = set\nis_inside = lambda pid, mark: False\nfootprint = lambda pid: 0\n';
    const blindMac = likeMacos({ macosModule: blind });
    onTestFinished(blindMac.remove);
    await expect(openLauncher(blindMac)).rejects.toThrow('a process outlived it');
  });
});

test('a server that is killed leaves nothing running, and nothing on the disk', async () => {
  const bundle = mkdtempSync(path.join(tmpdir(), 'hopx-mac-server-'));
  const input = fileURLToPath(new URL('server-to-kill.ts', import.meta.url));
  const file = path.join(bundle, 'server.mjs');
  await build({ input, platform: 'node', output: { file, format: 'esm' } });
  cpSync('src/engine/guest', path.join(bundle, 'guest'), { recursive: true });
  const mark = newMark();
  const child = spawn(process.execPath, [file, mark, 'seatbelt'], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
    rmSync(bundle, { recursive: true });
  });
  const [said] = await once(child.stdout, 'data');
  expect(String(said)).toMatch(/^descriptors: 0 1 2\nA Seatbelt profile/);
  const others = () => processesWith(mark).filter((pid) => pid !== `${child.pid}`);
  expect(others()).toHaveLength(1);
  child.kill('SIGKILL');
  await expect.poll(others, { timeout: 2000, interval: 10 }).toEqual([]);
  await expect.poll(() => directories(child.pid), { timeout: 2000, interval: 10 }).toEqual([]);
});

test('the last rule that fits is the one that denies', () => {
  const profile = seatbeltProfile({ readable: ['/usr/bin'], writable: ['/w/workspace'], mark: 'a.mark' });
  const rules = profile.trim().split('\n');
  expect(rules.slice(0, 3)).toEqual(['(version 1)', '(deny default)', '(import "system.sb")']);
  const last = (operation: string) => rules.filter((rule) => rule.includes(operation)).at(-1);
  expect(last('network*')).toBe('(deny network*)');
  expect(last('sysctl-read')).toBe('(deny sysctl-read (sysctl-name-prefix "kern.proc"))');
  expect(last('mach-lookup')).toMatch(/^\(allow mach-lookup .*\(global-name "a\.mark"\)\)$/);
  expect(last('file-write*')).toBe('(allow file-write* (subpath "/w/workspace"))');
  expect(last('file-read-metadata')).toBe('(allow file-read-metadata (literal "/usr") (literal "/w"))');
});
