import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openLauncher } from '../../../src/engine/sandbox/launcher.ts';
import { type Machine, thisMachine } from '../../../src/engine/sandbox/machine.ts';
import { rungs } from '../../../src/engine/sandbox/rungs.ts';
import { request } from './sandbox-fixture.ts';

const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true });
});

/** A directory of programs: links to this machine's, or scripts. */
function programs(entries: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'hopx-programs-'));
  chmodSync(directory, 0o755);
  directories.push(directory);
  for (const [name, target] of Object.entries(entries)) {
    const file = path.join(directory, name);
    if (target.startsWith('/')) symlinkSync(target, file);
    else writeFileSync(file, `#!/bin/sh\n${target}\n`, { mode: 0o755 });
  }
  return directory;
}

const python = '/usr/bin/python3';
const bwrap = '/usr/bin/bwrap';
const refusal = 'echo "bwrap: setting up uid map: Permission denied" >&2; exit 1';

type Case = {
  says: string;
  has: Record<string, string>;
  files?: Record<string, string>;
  machine?: Partial<Machine>;
  remedy: string;
};

/** Python would make the sandboxes that bubblewrap cannot make. */
const withBubblewrap = rungs.filter(({ madeBy }) => madeBy === 'bubblewrap');

const machines: Case[] = [
  {
    says: 'Debian without bubblewrap',
    has: { python3: python, 'apt-get': 'true' },
    remedy: '`sudo apt-get install -y bubblewrap`',
  },
  {
    says: 'Fedora without bubblewrap',
    has: { python3: python, dnf: 'true' },
    remedy: '`sudo dnf install -y bubblewrap`',
  },
  {
    says: 'Alpine without bubblewrap',
    has: { python3: python, apk: 'true' },
    remedy: '`sudo apk add bubblewrap`',
  },
  {
    says: 'Arch without bubblewrap',
    has: { python3: python, pacman: 'true' },
    remedy: '`sudo pacman -S --noconfirm bubblewrap`',
  },
  {
    says: 'a system without a known package manager',
    has: { python3: python },
    remedy: 'Install bubblewrap with',
  },
  {
    says: 'Debian without python3',
    has: { bwrap, 'apt-get': 'true' },
    remedy: '`sudo apt-get install -y python3`',
  },
  {
    says: 'Arch without python3',
    has: { bwrap, pacman: 'true' },
    remedy: '`sudo pacman -S --noconfirm python`',
  },
  {
    says: 'a Python that is too old',
    has: { bwrap, python3: 'echo 3 8', 'apt-get': 'true' },
    remedy: 'install -y python3`',
  },
  {
    says: 'a Python that fails',
    has: { bwrap, python3: 'exit 1', 'apt-get': 'true' },
    remedy: 'install -y python3`',
  },
  {
    says: 'Ubuntu 24.04, whose AppArmor keeps user namespaces back',
    has: { bwrap: refusal, python3: python },
    files: { '/proc/sys/kernel/apparmor_restrict_unprivileged_userns': '1\n' },
    remedy: 'sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict',
  },
  {
    says: 'Docker',
    has: { bwrap: refusal, python3: python },
    files: { '/.dockerenv': '' },
    remedy: '--security-opt seccomp=unconfined',
  },
  {
    says: 'Podman',
    has: { bwrap: refusal, python3: python },
    files: { '/run/.containerenv': '' },
    remedy: '--security-opt',
  },
  {
    says: 'a kernel with user namespaces for root alone',
    has: { bwrap: refusal, python3: python },
    files: { '/proc/sys/kernel/unprivileged_userns_clone': '0\n' },
    remedy: '`sudo sysctl -w kernel.unprivileged_userns_clone=1`',
  },
  {
    says: 'a kernel with no user namespaces',
    has: { bwrap: refusal, python3: python },
    files: { '/proc/sys/user/max_user_namespaces': '0\n' },
    remedy: '`sudo sysctl -w user.max_user_namespaces=15000`',
  },
  {
    says: 'a refusal that nothing explains',
    has: { bwrap: refusal, python3: python },
    remedy: 'allow unprivileged user namespaces',
  },
  {
    says: 'a bwrap that cannot be run',
    has: { bwrap: 'exit 0', python3: python },
    remedy: 'allow unprivileged',
  },
  { says: 'Windows', has: {}, machine: { platform: 'win32' }, remedy: 'WSL 2' },
  {
    says: 'macOS with no Python but the stub that asks to install one',
    has: {},
    machine: { platform: 'darwin', uid: 501, searchPath: ['/usr/bin'] },
    remedy: '`xcode-select --install`',
  },
  {
    says: 'macOS without a sandbox-exec that works',
    has: { python3: python, 'sandbox-exec': 'exit 71' },
    machine: { platform: 'darwin', uid: 501 },
    remedy: 'Linux virtual machine or container',
  },
  {
    says: 'macOS without a sandbox-exec',
    has: { python3: python },
    machine: { platform: 'darwin', uid: 501 },
    remedy: 'Linux virtual machine or container',
  },
  {
    says: 'macOS as root',
    has: { python3: python, 'sandbox-exec': 'exit 71' },
    machine: { platform: 'darwin', uid: 0 },
    remedy: 'ordinary user',
  },
  {
    says: 'an unknown processor',
    has: { bwrap, python3: python },
    machine: { architecture: 'riscv64' },
    remedy: 'x64 or arm64',
  },
];

test.each(machines)('says what mends $says', async ({ has, files = {}, machine, remedy }) => {
  const readText = (file: string) => files[file];
  const opening = openLauncher({
    machine: { ...thisMachine(), searchPath: [programs(has)], readText, ...machine },
    ...(machine?.platform !== 'darwin' && { rungs: withBubblewrap }),
  });
  await expect(opening).rejects.toMatchObject({
    code: 'ENGINE_UNAVAILABLE',
    facts: { remediation: expect.stringContaining(remedy), message: expect.any(String) },
  });
  await expect(opening).rejects.toMatchObject({
    facts: { remediation: expect.stringContaining('HOPX_API_KEY') },
  });
});

test('says what bubblewrap said', async () => {
  const machine = { ...thisMachine(), searchPath: [programs({ bwrap: refusal, python3: python })] };
  await expect(openLauncher({ machine, rungs: withBubblewrap })).rejects.toMatchObject({
    message: expect.stringContaining('setting up uid map'),
  });
});

test('says what stands between a sandbox and this machine, and which languages are there', async () => {
  const launcher = await openLauncher();
  expect(launcher.isolation).toMatch(/^Own user, process, network.*kernel is shared with this machine\.$/);
  expect(launcher.languages).toEqual(expect.arrayContaining(['python', 'javascript', 'bash']));
  await launcher.close();
});

test.each([
  { says: 'missing', has: { python3: python } },
  { says: 'refused', has: { bwrap: refusal, python3: python } },
])('where bubblewrap is $says, Python makes the same namespaces, and it is said', async ({ has }) => {
  const launcher = await openLauncher({ machine: { ...thisMachine(), searchPath: [programs(has)] } });
  expect(launcher.isolation).toMatch(/file system namespaces \(python\)/);
  const sandbox = await launcher.launch({ id: 'a', internetAccess: false });
  expect(await sandbox.run(request('bash', 'echo $$; ls /home'))).toMatchObject({ exitCode: 2 });
  await sandbox.destroy();
  await launcher.close();
});

// As root every sandbox is a user of its own, so that its processes are counted on any kernel.
test.each([
  { release: '5.13.0', counted: process.getuid?.() === 0 },
  { release: '5.14.0-1-amd64', counted: true },
  { release: '6.1.0', counted: true },
])('says whether processes are counted on Linux $release: $counted', async ({ release, counted }) => {
  const launcher = await openLauncher({ machine: { ...thisMachine(), release } });
  expect(launcher.isolation.includes('any number of processes')).toBe(!counted);
  await launcher.close();
});

test('offers only languages that work', async () => {
  const machine = { ...thisMachine(), execPath: '/bin/false' };
  const launcher = await openLauncher({ machine });
  expect(launcher.languages).toEqual(expect.arrayContaining(['python', 'bash']));
  expect(launcher.languages).not.toContain('javascript');
  await launcher.close();
});

test('starts twenty at once', async () => {
  const launcher = await openLauncher();
  const sandboxes = await Promise.all(
    Array.from({ length: 20 }, (_, index) => launcher.launch({ id: `${index}`, internetAccess: false })),
  );
  const results = await Promise.all(
    sandboxes.map((sandbox, index) => sandbox.run(request('python', `${index} * 2`))),
  );
  expect(results.map(({ result }) => result)).toEqual(sandboxes.map((_, index) => `${index * 2}`));
  await Promise.all(sandboxes.map((sandbox) => sandbox.destroy()));
  await launcher.close();
});
