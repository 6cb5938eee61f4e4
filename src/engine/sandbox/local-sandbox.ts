import { SandboxFailure } from '../../contract/failures.ts';
import type { Log } from '../../log.ts';
import { executeRun, neverStarted, type Patience } from './execute-run.ts';
import { operateOnFile } from './file-operation.ts';
import { createGuestSession, type Guest, type SandboxEnd } from './guest-session.ts';
import type { Limits } from './limits.ts';
import type { RunOptions, RunRequest, RunResult } from './run.ts';
import type { Watchdog } from './watchdog.ts';

export type { RunRequest, RunResult } from './run.ts';

/** One isolated place to run code in, with its files and its Python kernel. */
export type LocalSandbox = {
  /** Python runs of one sandbox take turns; others go side by side. */
  run(request: RunRequest, options?: RunOptions): Promise<RunResult>;
  /** Under /workspace or /tmp; relative paths are under /workspace. Makes missing directories. */
  writeFile(
    path: string,
    content: Uint8Array,
    options?: { mode?: number; overwrite?: boolean },
  ): Promise<void>;
  readFile(path: string): Promise<Uint8Array>;
  /** Resolves once every process is gone and nothing of it is left; may be called again. */
  destroy(): Promise<void>;
  /** Resolves with why the sandbox ended, whether destroyed or by itself. */
  ended: Promise<SandboxEnd>;
};

type LocalSandboxOptions = {
  guest: Guest;
  limits: Limits;
  log: Log;
  watch(hooks: { onAgentOverLimit(): void }): Watchdog;
  patience?: Patience;
};

const defaultPatience: Patience = { timeoutGraceMs: 400, cancelGraceMs: 100, confirmMs: 1500 };

/** A sandbox over an agent that was started; `ready` resolves when it answers and rejects if it never does. */
export function createLocalSandbox(options: LocalSandboxOptions): {
  sandbox: LocalSandbox;
  ready: Promise<void>;
} {
  const { guest, limits, log, watch, patience = defaultPatience } = options;
  const session = createGuestSession(guest, log);
  const watchdog = watch({
    onAgentOverLimit: () => session.end('memory', 'the agent itself is over the limit'),
  });
  const ended = session.ended.finally(() => watchdog.stop());
  const deps = { session, watchdog, limits, patience };
  let lastPythonRun: Promise<unknown> = Promise.resolve();
  let fileCount = 0;

  const pythonRun = (request: RunRequest, runOptions: RunOptions): Promise<RunResult> => {
    const { signal } = runOptions;
    return new Promise((resolve, reject) => {
      const leaveQueue = () => resolve(neverStarted);
      signal?.addEventListener('abort', leaveQueue, { once: true });
      lastPythonRun = lastPythonRun.then(async () => {
        signal?.removeEventListener('abort', leaveQueue);
        if (signal?.aborted) return leaveQueue();
        try {
          session.requireAlive();
          resolve(await executeRun(deps, request, runOptions));
        } catch (failure) {
          reject(failure);
        }
      });
    });
  };
  const fileId = () => {
    session.requireAlive();
    fileCount += 1;
    // No run can have this id.
    return `file:${fileCount}`;
  };

  const sandbox: LocalSandbox = {
    ended,
    async run(request, runOptions = {}) {
      session.requireAlive();
      if (!/^[\w-]{1,64}$/.test(request.runId) || session.isInFlight(request.runId)) {
        throw new SandboxFailure('INVALID_REQUEST', {
          message: 'runId: must be new, and 1 to 64 of A-Z a-z 0-9 _ -',
        });
      }
      return request.language === 'python'
        ? pythonRun(request, runOptions)
        : executeRun(deps, request, runOptions);
    },
    async writeFile(path, content, { mode, overwrite = true } = {}) {
      const data = Buffer.from(content).toString('base64');
      const request = { op: 'write', path, data, overwrite, ...(mode !== undefined && { mode }) } as const;
      await operateOnFile(session, fileId(), request);
    },
    async readFile(path) {
      return operateOnFile(session, fileId(), { op: 'read', path });
    },
    async destroy() {
      session.end('destroyed');
      await ended;
    },
  };
  return { sandbox, ready: session.ready };
}
