import { SandboxFailure } from '../../contract/failures.ts';
import { findProgram, type Machine } from './machine.ts';
import { installCommand, packageManagers } from './package-managers.ts';

const cloud = 'or set HOPX_API_KEY to use HopX cloud sandboxes';

function unavailable(message: string, remedy: string): SandboxFailure {
  return new SandboxFailure('ENGINE_UNAVAILABLE', { message, remediation: `${remedy} ${cloud}.` });
}

/** A package that is needed and not there. */
export function packageMissing(machine: Machine, name: 'bubblewrap' | 'python3'): SandboxFailure {
  const manager = packageManagers.find(({ program }) => findProgram(machine, program) !== undefined);
  const message = `This machine cannot run isolated sandboxes: ${name} is not installed.`;
  if (machine.platform === 'darwin')
    return unavailable(message, 'Ask the user to run `xcode-select --install` and try again,');
  if (manager === undefined)
    return unavailable(message, `Install ${name} with the system's package manager,`);
  const command = `sudo ${installCommand(manager, [name]).join(' ')}`;
  return unavailable(message, `Ask the user to run \`${command}\` and try again,`);
}

/** A system that the embedded engine does not run on. */
export function platformUnsupported(machine: Machine): SandboxFailure {
  const name = `${machine.platform} on ${machine.architecture}`;
  const remedies: Partial<Record<NodeJS.Platform, string>> = {
    win32: 'Run the server inside WSL 2 (`wsl --install`),',
  };
  const remedy = remedies[machine.platform] ?? 'Run the server on Linux or macOS on x64 or arm64,';
  return unavailable(`Local sandboxes need Linux or macOS on x64 or arm64; this is ${name}.`, remedy);
}

/** Of a Mac's root the sandboxes would be root, too. */
export function rootUnsupported(): SandboxFailure {
  return unavailable('Local sandboxes are not for root on macOS.', 'Run the server as an ordinary user,');
}

const installProfile =
  'sudo apt-get install -y apparmor-profiles apparmor-utils && ' +
  'sudo install -m 644 /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && ' +
  'sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict';

/** Why every way of making a sandbox was refused, as far as the machine tells. */
export function sandboxRefused(machine: Machine, stderr: string): SandboxFailure {
  const setting = (file: string) => machine.readText(file)?.trim();
  const message = `This machine refuses to make a sandbox: ${stderr.trim().split('\n').at(-1)?.slice(0, 300) ?? ''}`;
  if (machine.platform === 'darwin')
    return unavailable(
      message,
      'Run the server in a Linux virtual machine or container, such as Docker Desktop,',
    );
  const run = (command: string) => unavailable(message, `Ask the user to run \`${command}\` and try again,`);
  if (machine.readText('/.dockerenv') !== undefined || machine.readText('/run/.containerenv') !== undefined) {
    const flags =
      '--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined';
    return unavailable(message, `Ask the user to start this container with \`docker run ${flags} …\`,`);
  }
  if (setting('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === '1') return run(installProfile);
  if (setting('/proc/sys/kernel/unprivileged_userns_clone') === '0')
    return run('sudo sysctl -w kernel.unprivileged_userns_clone=1');
  if (setting('/proc/sys/user/max_user_namespaces') === '0')
    return run('sudo sysctl -w user.max_user_namespaces=15000');
  return unavailable(message, 'Ask the user to allow unprivileged user namespaces for /usr/bin/bwrap,');
}

/** What only a network namespace makes safe. */
export function noInternet(machine: Machine): SandboxFailure {
  const { remediation = '' } = sandboxRefused(machine, '').facts;
  const message =
    'internet_access: sandboxes have no network on this machine, as it has no namespaces for them. ' +
    `Leave it out. To have it: ${remediation}`;
  return new SandboxFailure('INVALID_REQUEST', { message });
}
