import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { type Frozen, freeze } from './freeze.ts';
import type { Guest } from './guest-session.ts';
import type { HandedFile } from './handed-file.ts';
import { childrenOf, killProcess } from './process-tree.ts';

/** The processes of one sandbox on this machine. */
export type StartedGuest = Guest & {
  /** Of the process outside, whose only child is the agent. */
  rootPid: number;
  agentPid(): number | undefined;
  /** Stops all its processes. */
  freeze(): Frozen;
  /** The last that bubblewrap and the agent wrote to stderr. */
  complaints(): string;
};

type Command = {
  file: string;
  args: readonly string[];
  /** Whom to be, where the server is root and the sandbox must not be. */
  uid: number | undefined;
  /** Handed over as descriptors 3, 4, … */
  files: readonly HandedFile[];
  /** Whether what is started ends the whole sandbox by itself once it is told to, and clears up; or stops it, too. */
  guard: 'none' | 'ends' | 'ends and stops';
};

/** Enough for bubblewrap's one line and a traceback of the agent. */
const MAX_COMPLAINT_CHARS = 4096;
/** From the agent's death to the end of bubblewrap, which ends by itself then. */
const LINGER_MS = 500;
/** For a guard to remove as many files as a sandbox may have. */
const GUARD_MS = 30_000;

/** Starts bubblewrap; rejects when it cannot be run at all. */
export async function startGuest({ file, args, uid, files, guard }: Command): Promise<StartedGuest> {
  const child = withDescriptors(files, (descriptors) =>
    spawn(file, args, {
      cwd: '/',
      env: {},
      stdio: ['pipe', 'pipe', 'pipe', ...descriptors],
      ...(uid !== undefined && { uid, gid: uid }),
    }),
  );
  // Not 'exit': by 'close' everything that held its pipes is gone, and its last words were read.
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const { stdin: input, stdout: output, stderr } = child;
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  const rootPid = child.pid;
  if (rootPid === undefined || input === null || output === null || stderr === null)
    throw new Error('no process');

  let complaints = '';
  stderr
    .on('error', () => {})
    .on('data', (chunk: Buffer) => {
      complaints = (complaints + chunk.toString('utf8')).slice(-MAX_COMPLAINT_CHARS);
    });
  const isGuard = guard !== 'none';
  // An agent that hears no more from here ends the others and leaves; of its guard it may not hear.
  if (isGuard) child.once('exit', () => input.destroy());
  const isGone = () => child.exitCode !== null || child.signalCode !== null;
  const agentPid = () => childrenOf(rootPid)[0];
  return {
    input,
    output,
    rootPid,
    agentPid,
    complaints: () => complaints,
    exited,
    freeze() {
      if (guard !== 'ends and stops') return freeze(rootPid);
      child.kill('SIGUSR1');
      return { thaw: () => void child.kill('SIGUSR2') };
    },
    kill() {
      if (isGone()) return;
      // The kernel ends a whole PID namespace with its first process; bubblewrap leaves after that.
      const agent = isGuard ? undefined : agentPid();
      if (agent === undefined) child.kill(isGuard ? 'SIGTERM' : 'SIGKILL');
      else killProcess(agent);
      setTimeout(() => child.kill('SIGKILL'), isGuard ? GUARD_MS : LINGER_MS).unref();
    },
  };
}

function withDescriptors<T>(files: readonly HandedFile[], run: (descriptors: number[]) => T): T {
  const descriptors: number[] = [];
  try {
    for (const handed of files) descriptors.push(handed.open());
    return run(descriptors);
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}
