import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import path from 'node:path';
import { type GuardedSandbox, inDirectory } from './in-directory.ts';
import type { Interpreters } from './interpreters.ts';
import type { Limits } from './limits.ts';
import { makerArguments } from './maker.ts';

/** What stands between code and a Mac. */
export const seatbeltIsolation =
  'A Seatbelt profile (sandbox-exec) that denies by default, as the user of this server, and no network at all; ' +
  'untried on a Mac by its makers, though it proves itself each time this server starts; ' +
  'code sees which files exist outside but not what is in them, ' +
  '/workspace and /tmp are known to the tools alone while code uses its working directory and TMPDIR, ' +
  'there is no terminal, no shared memory and no list of processes, what stops one run stops all that run in the ' +
  'sandbox, code can end its own sandbox, the caps on its memory and files are checked a few times a second, and its ' +
  'processes are counted together with all others of the user; the kernel is shared with this machine.';

// Of the system and of those who install interpreters; nothing in there is the user's own.
const readable = [
  ...['/bin', '/usr/bin', '/usr/lib', '/usr/libexec', '/usr/share', '/System/Library', '/Library/Apple'],
  ...['/System/Cryptexes', '/System/Volumes/Preboot/Cryptexes', '/private/var/db/timezone'],
  ...['/private/var/db/xcode_select_link', '/private/var/select', '/private/etc/localtime'],
  ...['/private/etc/protocols', '/private/etc/services', '/private/etc/ssl'],
  ...['/Library/Developer/CommandLineTools', '/Library/Frameworks/Python.framework'],
  ...['/opt/homebrew', '/usr/local'].flatMap((prefix) =>
    [...['bin', 'lib', 'opt', 'share', 'Cellar', 'Frameworks'], 'etc/openssl@3', 'etc/ca-certificates'].map(
      (name) => `${prefix}/${name}`,
    ),
  ),
];

const devices = ['null', 'zero', 'random', 'urandom'].map((name) => `/dev/${name}`);

// Each hands work to services outside, which the profile denies them, too.
const messengers = ['/usr/bin/open', '/usr/bin/osascript', '/usr/bin/security', '/bin/launchctl'];

type Profile = {
  /** Files and directories, by their canonical paths. */
  readable: readonly string[];
  writable: readonly string[];
  /** The name of a service that nobody offers, by which the guard knows the processes of this sandbox. */
  mark: string;
};

/** The text of a profile for `sandbox-exec -p`; of rules that fit the last one counts. */
export function seatbeltProfile(profile: Profile): string {
  const { writable, mark } = profile;
  const places = [...profile.readable, ...writable];
  return [
    '(version 1)',
    '(deny default)',
    // What every program needs to start; the rules after it take back what is too much of it.
    '(import "system.sb")',
    // What (deny default) leaves out.
    '(deny process-info* nvram* iokit-get-properties)',
    // The arguments and the environment of other processes are there.
    '(deny sysctl-read (sysctl-name-prefix "kern.proc"))',
    '(deny network*)',
    // Services that work for a process outside of its sandbox, such as those that fetch certificates.
    '(deny mach-lookup mach-register)',
    `(allow mach-lookup (global-name "com.apple.system.opendirectoryd.libinfo") (global-name ${quoted(mark)}))`,
    '(allow process-fork)',
    // Of Python's multiprocessing; their names are known to all programs of the user.
    '(allow ipc-posix-sem (ipc-posix-name-regex #"^/mp-"))',
    '(allow signal process-info* (target same-sandbox))',
    allow('file-read-metadata', literals(ancestorsOf(places))),
    allow('file-read* process-exec', ['(literal "/")', ...places.map(anywhereIn)]),
    `(deny process-exec ${literals(messengers).join(' ')})`,
    allow('file-write*', writable.map(anywhereIn)),
    // With these, files could be made that outlast their sandbox.
    '(deny file-write-acl file-write-flags file-write-setugid)',
    allow('file-read* file-write-data file-ioctl', literals(devices)),
    '(allow file-read* file-write-data (subpath "/dev/fd"))',
    '',
  ].join('\n');
}

const allow = (operations: string, filters: readonly string[]) =>
  `(allow ${operations} ${filters.join(' ')})`;
const literals = (places: readonly string[]) => places.map((place) => `(literal ${quoted(place)})`);
const anywhereIn = (place: string) => `(subpath ${quoted(place)})`;
// A control character comes out as what fits no file, and denies it.
const quoted = (text: string) => JSON.stringify(text);

function ancestorsOf(places: readonly string[]): string[] {
  const found = new Set<string>();
  for (const place of places)
    for (let parent = path.dirname(place); parent !== '/'; parent = path.dirname(parent)) found.add(parent);
  return [...found].sort();
}

type SeatbeltOptions = {
  sandboxExec: string;
  interpreters: Interpreters;
  limits: Limits;
  agentConfig: { rlimits: Readonly<Record<string, number>> };
};

/** Which descriptor of the agent's leads to its guard. */
const GUARD_DESCRIPTOR = 3;

/** The command of a sandbox in a directory of its own, which the command makes and takes away. */
export function seatbeltCommand({ sandboxExec, ...options }: SeatbeltOptions): GuardedSandbox {
  const { interpreters, limits, agentConfig } = options;
  const { NPROC: _ofTheGuard, ...rlimits } = agentConfig.rlimits;
  const sandbox = inDirectory({
    interpreters,
    limits,
    agentConfig: { ...agentConfig, rlimits, guard: GUARD_DESCRIPTOR },
  });
  const mark = `hopx.sandbox.${randomBytes(16).toString('hex')}`;
  const profile = seatbeltProfile({
    readable: [...readable, ...sandbox.readable],
    writable: sandbox.writable,
    mark,
  });
  const kills = `${sandbox.directory}/kills`;
  const config = {
    ...sandbox.config,
    uid: null,
    command: [sandboxExec, '-p', profile, ...sandbox.config.command],
    mark,
    kills,
    guard: GUARD_DESCRIPTOR,
    memoryBytes: limits.memoryBytes,
    processes: limits.processes,
  };
  const args = makerArguments(['directory', 'macos', 'seatbelt'], JSON.stringify(config));
  return {
    ...sandbox,
    command: { file: interpreters.python.executable, args },
    memoryKills: () => statSync(kills, { throwIfNoEntry: false })?.size ?? 0,
  };
}
