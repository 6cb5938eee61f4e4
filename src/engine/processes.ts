import { randomBytes } from 'node:crypto';
import { SandboxFailure } from '../contract/failures.ts';
import type { LocalSandbox, RunRequest, RunResult } from './sandbox/local-sandbox.ts';

/** A run that nobody waits for. */
export type Process = {
  readonly id: string;
  readonly name: string;
  readonly language: string;
  readonly startedAtMs: number;
  status: 'running' | 'completed' | 'failed' | 'killed' | 'timeout';
  endedAtMs?: number;
  exitCode?: number;
  /** Resolves with its result, or rejects when the sandbox ends before. */
  readonly ended: Promise<RunResult>;
};

export type Processes = {
  start(run: RunRequest, options: { prefix: string; name?: string | undefined; language: string }): Process;
  /** Newest last. */
  list(): readonly Process[];
  /** Resolves once it is gone; throws `RESOURCE_NOT_FOUND`. */
  kill(id: string): Promise<void>;
};

type ProcessesDeps = { sandbox: Promise<LocalSandbox>; now(): number };

/** Each holds its output until it ends: 64 of them at worst some 256 MiB. */
const MAX_RUNNING = 64;
/** How many that ended a list still tells of. */
const MAX_ENDED = 100;

/** The background processes of one sandbox. */
export function createProcesses({ sandbox, now }: ProcessesDeps): Processes {
  const running = new Map<string, { process: Process; abort: AbortController }>();
  const ended: Process[] = [];

  const settle = (process: Process, status: Process['status'], exitCode?: number) => {
    running.delete(process.id);
    Object.assign(process, { status, endedAtMs: now(), ...(exitCode !== undefined && { exitCode }) });
    ended.push(process);
    if (ended.length > MAX_ENDED) ended.shift();
  };

  return {
    start(run, { prefix, name = '', language }) {
      if (running.size >= MAX_RUNNING) {
        const message = `Process limit reached (${running.size}/${MAX_RUNNING})`;
        throw new SandboxFailure('RESOURCE_LIMIT_ERROR', { message });
      }
      const startedAtMs = now();
      const id = `${prefix}_${Math.floor(startedAtMs / 1000)}${randomBytes(4).toString('hex')}`;
      const abort = new AbortController();
      const result = sandbox.then((local) => local.run(run, { signal: abort.signal }));
      const process: Process = { id, name, language, startedAtMs, status: 'running', ended: result };
      running.set(id, { process, abort });
      result.then(
        ({ endedBy, exitCode }) => settle(process, statusOf(endedBy, exitCode), exitCode),
        () => settle(process, 'failed'),
      );
      return process;
    },

    list: () => [...ended, ...[...running.values()].map(({ process }) => process)],

    async kill(id) {
      const found = running.get(id);
      if (found === undefined) {
        if (ended.some((process) => process.id === id)) return;
        throw new SandboxFailure('RESOURCE_NOT_FOUND', { message: 'Process not found' });
      }
      found.abort.abort();
      await found.process.ended.catch(() => {});
    },
  };
}

function statusOf(endedBy: RunResult['endedBy'], exitCode: number): Process['status'] {
  if (endedBy === 'cancel') return 'killed';
  if (endedBy === 'timeout') return 'timeout';
  return exitCode === 0 ? 'completed' : 'failed';
}
