import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { parseArgs } from 'node:util';
import { type Config, readConfig } from '../config.ts';
import { ownCall } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import type { Language } from '../contract/results.ts';
import { installCommand, packageManagers } from '../engine/sandbox/package-managers.ts';
import { silentLog } from '../log.ts';
import { remedyFor } from './remedy.ts';

/** `isMinor` stands in nobody's way. */
type Finding = { ok: boolean; isMinor?: boolean; says: string; remedy?: string };

type CloudBackend = Extract<Config['backend'], { kind: 'hopx' }>;

type DoctorOptions = {
  env?: NodeJS.ProcessEnv;
  write?: (text: string) => void;
  /** Runs one program with its output shown; resolves to its exit code. */
  run?: (command: readonly string[]) => Promise<number>;
  ask?: (question: string) => Promise<boolean>;
  isTerminal?: boolean;
  platform?: NodeJS.Platform;
  /** Whether a program is installed. */
  has?: (program: string) => Promise<boolean>;
  /** Runs a sandbox on this machine, or throws the `SandboxFailure` that says why it cannot. */
  probe?: () => Promise<{ isolation: string; languages: readonly Language[] }>;
};

/** What the embedded engine needs of a Linux, by program and package; macOS has all but a Python, of which the probe tells. */
const needed = [
  { program: 'bwrap', package: 'bubblewrap' },
  { program: 'python3', package: 'python3' },
] as const;

/** Long enough for a cloud that is far away, short enough for a person. */
const LIST_MS = 15_000;

const usage = `Says in plain lines what works here and what to type to mend the rest.

  node dist/main.js doctor [--fix] [--yes]

  --fix   installs what is missing through the system's package manager, after asking
  --yes   does not ask
`;

/** The flags given, or undefined where one of them does not exist. */
function parseFlags(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        fix: { type: 'boolean', default: false },
        yes: { type: 'boolean', short: 'y', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    return values;
  } catch {
    return undefined;
  }
}

/** Prints what works; 0 when sandboxes can be had with the present configuration. */
export async function runDoctor(args: readonly string[], options: DoctorOptions = {}): Promise<number> {
  const {
    env = process.env,
    write = (text: string) => process.stdout.write(text),
    run = runProgram,
    ask = askOnTerminal,
    isTerminal = process.stdin.isTTY === true,
    has = (program: string) => onPath(program, env),
    platform = process.platform,
    probe = probeEngine,
  } = options;
  const flags = parseFlags(args);
  if (flags === undefined || flags.help) {
    write(usage);
    return flags === undefined ? 2 : 0;
  }
  const tell = (finding: Finding) => {
    const mark = finding.ok ? '✓' : finding.isMinor ? '!' : '✗';
    write(`${mark} ${finding.says}\n${finding.remedy === undefined ? '' : `  → ${finding.remedy}\n`}`);
    return finding.ok;
  };

  tell({ ok: true, says: `Node ${process.version} on ${platform} ${process.arch}` });
  const { config, problems } = readConfig(env);
  for (const { variable, problem } of problems) tell({ ok: false, says: `${variable} ${problem}` });
  const { backend } = config;
  if (backend.kind === 'hopx') return tell(await checkCloud(backend)) && problems.length === 0 ? 0 : 1;

  const missing = platform === 'darwin' ? [] : await findMissing(has);
  let engine = await checkEngine(probe);
  for (const { package: name } of missing) tell(absence(name, engine.ok));
  if (missing.length > 0 && flags.fix) {
    const approve = flags.yes ? async () => true : isTerminal ? ask : async () => false;
    await install(
      missing.map((need) => need.package),
      { has, write, run, approve },
    );
    engine = await checkEngine(probe);
  }
  return tell(engine) && problems.length === 0 ? 0 : 1;
}

async function checkCloud({ baseUrl, apiKey }: CloudBackend): Promise<Finding> {
  const { createHopxClient } = await import('../client/hopx-client.ts');
  const client = createHopxClient({ baseUrl, apiKey, log: silentLog });
  try {
    const sandboxes = await client.listSandboxes(ownCall(LIST_MS));
    return { ok: true, says: `HopX at ${baseUrl} accepts the key; sandboxes there: ${sandboxes.length}` };
  } catch (error) {
    return unusable(`HopX at ${baseUrl}`, error);
  } finally {
    await client.close();
  }
}

async function probeEngine(): Promise<{ isolation: string; languages: readonly Language[] }> {
  const { openLauncher } = await import('../engine/sandbox/launcher.ts');
  const launcher = await openLauncher();
  await launcher.close();
  return launcher;
}

async function checkEngine(probe: typeof probeEngine): Promise<Finding> {
  try {
    const { isolation, languages } = await probe();
    return {
      ok: true,
      says: `Sandboxes run on this machine. ${isolation} Languages: ${languages.join(', ')}.`,
    };
  } catch (error) {
    return unusable('The embedded engine', error);
  }
}

function absence(name: string, isMinor: boolean): Finding {
  const standIn = isMinor ? '; sandboxes are made without it' : '';
  return { ok: false, isMinor, says: `${name} is not installed${standIn}` };
}

function unusable(what: string, error: unknown): Finding {
  if (!(error instanceof SandboxFailure)) throw error;
  return { ok: false, says: `${what} does not work: ${error.message}`, remedy: remedyFor(error) };
}

async function findMissing(has: (program: string) => Promise<boolean>): Promise<(typeof needed)[number][]> {
  const found = await Promise.all(needed.map(({ program }) => has(program)));
  return needed.filter((_need, index) => found[index] !== true);
}

async function install(
  packages: readonly (typeof needed)[number]['package'][],
  {
    has,
    write,
    run,
    approve,
  }: {
    has: (program: string) => Promise<boolean>;
    write: (text: string) => void;
    run: (command: readonly string[]) => Promise<number>;
    approve: (question: string) => Promise<boolean>;
  },
): Promise<void> {
  const present = await Promise.all(packageManagers.map(({ program }) => has(program)));
  const manager = packageManagers.find((_manager, index) => present[index] === true);
  if (manager === undefined) {
    write(`  → Install ${packages.join(' and ')} with your system's package manager.\n`);
    return;
  }
  const rights = process.getuid?.() === 0 ? [] : ['sudo'];
  const commands = [...(manager.prepare ? [manager.prepare] : []), installCommand(manager, packages)];
  const typed = commands.map((command) => [...rights, ...command].join(' ')).join('; ');
  if (!(await approve(`Run \`${typed}\`?`))) {
    write(`  → Not installed. To do it yourself: ${typed}\n`);
    return;
  }
  write(`  $ ${typed}\n`);
  for (const command of commands) {
    const exitCode = await run([...rights, ...command]);
    if (exitCode !== 0) write(`✗ ${command.join(' ')} ended with exit code ${exitCode}\n`);
  }
}

async function onPath(program: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  // An administrator's PATH may lack sbin, and a host's may be short.
  const folders = [...(env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/sbin', '/sbin'];
  const found = await Promise.allSettled(
    folders.map((folder) => access(join(folder, program), constants.X_OK)),
  );
  return found.some((result) => result.status === 'fulfilled');
}

function runProgram([command = '', ...args]: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    // Package managers are chatty; what they say goes to stderr, where it can be followed and is not in the way.
    const child = spawn(command, args, {
      stdio: ['inherit', 2, 2],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    child.once('error', () => resolve(127));
    child.once('close', (exitCode) => resolve(exitCode ?? 1));
  });
}

async function askOnTerminal(question: string): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
