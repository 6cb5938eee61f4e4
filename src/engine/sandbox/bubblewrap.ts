import { execFile } from 'node:child_process';
import { existsSync, lstatSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { agentModules } from './guest-modules.ts';
import { descriptorOf, type HandedName } from './handed-file.ts';
import {
  environment,
  etcFiles,
  INSIDE_UID,
  insideProxy,
  proxyEnvironment,
  systemDirectories,
  TOOLS,
} from './inside.ts';
import type { Interpreters } from './interpreters.ts';
import type { Limits } from './limits.ts';
import { makerArguments } from './maker.ts';
import type { Rung } from './rungs.ts';

/** An installed bubblewrap, and which of the newer options it knows. */
export type Bubblewrap = {
  /** From 0.7: caps on tmpfs. */
  size: boolean;
  /** From 0.8; the system-call filter refuses nested user namespaces as well. */
  disableUserns: boolean;
};

/** What Python makes sandboxes with knows of them; its inside has no rights to make further user namespaces either. */
export const ownMaker: Bubblewrap = { size: true, disableUserns: false };

export async function inspectBubblewrap(file: string): Promise<Bubblewrap> {
  const help = await promisify(execFile)(file, ['--help'], { timeout: 10_000 }).then(
    ({ stdout }) => stdout,
    // It will say what is wrong with it when it is to make a sandbox.
    () => '',
  );
  return { size: help.includes('--size '), disableUserns: help.includes('--disable-userns ') };
}

/** Where the agent lies inside. */
const GUEST = '/run/agent';

type SandboxCommand = {
  bubblewrap: Bubblewrap;
  rung: Rung;
  interpreters: Interpreters;
  limits: Limits;
  /** Who the sandbox's processes are to this machine. */
  uid: number;
  /** The agent's own argument. */
  agentConfig: string;
  /** The socket of the proxy outside; without it there is no way out. */
  proxySocket?: string | undefined;
};

/** The arguments of bwrap for one sandbox, up to and with the command that it runs. */
export function bubblewrapArguments(command: SandboxCommand): string[] {
  const { bubblewrap, rung, interpreters, limits, uid, agentConfig, proxySocket } = command;
  const { python, node, goRoot } = interpreters;
  const searchPath = [TOOLS, '/usr/local/bin', '/usr/bin', '/bin'];
  if (goRoot !== undefined) searchPath.push(`${goRoot}/bin`);
  const tmpfs = (bytes: number, place: string) => [
    ...['--perms', '1777', ...(bubblewrap.size ? ['--size', `${bytes}`] : []), '--tmpfs', place],
  ];
  const data = (name: HandedName, place: string) => [
    ...['--perms', '0444', '--ro-bind-data', descriptorOf(name), place],
  ];
  const variables = { ...environment(searchPath), ...(proxySocket !== undefined && proxyEnvironment) };
  return [
    ...['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...['--hostname', 'sandbox', '--new-session', '--die-with-parent', '--as-pid-1'],
    ...(rung.userNamespace ? insideUserNamespace : withoutUserNamespace),
    ...(rung.userNamespace && bubblewrap.disableUserns ? ['--disable-userns'] : []),
    ...['--ro-bind', '/usr', '/usr'],
    ...systemDirectories.flatMap(mergedOrOwn),
    ...directory('/etc'),
    ...etcFiles.map((name) => `/etc/${name}`).flatMap((file) => (existsSync(file) ? readOnly(file) : [])),
    ...data('passwd', '/etc/passwd'),
    ...data('group', '/etc/group'),
    ...data('hosts', '/etc/hosts'),
    // Read-only, as a process could otherwise have others be ended before it when memory runs out.
    ...(rung.proc ? ['--proc', '/proc', '--remount-ro', '/proc'] : []),
    ...['--dev', '/dev', ...tmpfs(limits.sharedMemoryBytes, '/dev/shm')],
    ...tmpfs(limits.tmpBytes, '/tmp'),
    ...tmpfs(limits.workspaceBytes, '/workspace'),
    ...readOnly(python.prefix),
    ...directory(TOOLS),
    ...['python3', 'python'].flatMap((name) => ['--symlink', python.executable, `${TOOLS}/${name}`]),
    ...(node === undefined ? [] : ['--ro-bind', node, `${TOOLS}/node`]),
    ...(goRoot === undefined ? [] : readOnly(goRoot)),
    ...directory(GUEST),
    // Copied, as mounting each of them takes longer.
    ...agentModules.flatMap((name) => [
      '--perms',
      '0444',
      '--file',
      descriptorOf(name),
      `${GUEST}/${name}.pyc`,
    ]),
    ...(proxySocket === undefined ? [] : ['--ro-bind', proxySocket, insideProxy.path]),
    // Both are tmpfs without a size cap of their own.
    ...['--remount-ro', '/dev', '--remount-ro', '/'],
    ...['--seccomp', descriptorOf('seccomp'), '--chdir', '/workspace', '--clearenv'],
    ...Object.entries(variables).flatMap(([name, value]) => ['--setenv', name, value]),
    '--',
    ...(rung.userNamespace ? [] : becoming(uid)),
    ...[python.executable, '-S', `${GUEST}/agent.pyc`, agentConfig],
  ];
}

/** The same for Python, which reads its program from the descriptor that it also hands inside. */
export function pythonArguments(command: SandboxCommand): string[] {
  return makerArguments(['rights', 'namespaces'], ...bubblewrapArguments(command));
}

const insideUserNamespace = [
  ...['--unshare-user', '--uid', `${INSIDE_UID}`, '--gid', `${INSIDE_UID}`, '--cap-drop', 'ALL'],
];

const withoutUserNamespace = [
  ...['--cap-drop', 'ALL', '--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID', '--cap-add', 'CAP_SETPCAP'],
];

function becoming(uid: number): string[] {
  const identity = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups'];
  return ['/usr/bin/setpriv', ...identity, '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs'];
}

/** /bin and its like: a link into /usr on most systems, a directory on some. */
function mergedOrOwn(place: string): string[] {
  if (!existsSync(place)) return [];
  if (lstatSync(place).isSymbolicLink()) return ['--symlink', readlinkSync(place), place];
  return readOnly(place);
}

/** A place of this machine at the same path inside. */
function readOnly(place: string): string[] {
  if (place === '/usr' || place.startsWith('/usr/')) return [];
  return [...directory(path.dirname(place)), '--ro-bind', place, place];
}

/** A directory and those above it, which bubblewrap would make for its own uid alone. */
function directory(place: string): string[] {
  if (place === '/') return [];
  return [...directory(path.dirname(place)), '--perms', '0755', '--dir', place];
}
