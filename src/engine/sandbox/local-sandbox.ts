import { SandboxFailure } from '../../contract/failures.ts';
import type { Log } from '../../log.ts';
import { exchange } from './exchange.ts';
import { executeRun, neverStarted, type Patience } from './execute-run.ts';
import { operateOnFile } from './file-operation.ts';
import type { Frozen } from './freeze.ts';
import { createGuestFiles, type GuestFiles } from './guest-files.ts';
import { createGuestSession, type Guest, type SandboxEnd } from './guest-session.ts';
import { openTerminal, type Terminal, type TerminalOptions } from './guest-terminal.ts';
import { type WatchOptions, watchFiles } from './guest-watch.ts';
import type { Limits } from './limits.ts';
import { listProcesses, type SystemProcess } from './process-list.ts';
import type { RunOptions, RunRequest, RunResult } from './run.ts';
import { createTimers } from './timers.ts';
import type { Watchdog } from './watchdog.ts';

export type { RunOptions, RunRequest, RunResult } from './run.ts';

/** One isolated place to run code in, with its files and its Python kernel. */
export type LocalSandbox = GuestFiles & {
  /** Makes its first run a quick one; until then it takes next to no time and memory. Of one that ended nothing is asked. */
  prepare(): void;
  /** Python runs of one sandbox take turns; others go side by side. */
  run(request: RunRequest, options?: RunOptions): Promise<RunResult>;
  /** Under /workspace or /tmp; relative paths are under /workspace. Makes missing directories. */
  writeFile(
    path: string,
    content: Uint8Array,
    options?: { mode?: number; overwrite?: boolean },
  ): Promise<void>;
  readFile(path: string): Promise<Uint8Array>;
  openTerminal(options: TerminalOptions): Terminal;
  /** Resolves when the signal ends it. */
  watchFiles(path: string, options: WatchOptions): Promise<void>;
  /** What runs in it, the agent included. */
  processes(): SystemProcess[];
  /** Stops all its processes, the agent included, and the clocks of its runs. */
  pause(): void;
  /** Lets them go on; also after `stop`. */
  resume(): void;
  /** Ends all that runs in it; its files stay, and it does nothing until it is resumed. */
  stop(): Promise<void>;
  /** Resolves once nothing of it is left; may be called again. */
  destroy(): Promise<void>;
  /** Resolves once every process is gone, with why the sandbox ended, whether destroyed or by itself. */
  ended: Promise<SandboxEnd>;
};

type LocalSandboxOptions = {
  guest: Guest & { rootPid: number; freeze(): Frozen };
  limits: Limits;
  log: Log;
  watch(hooks: { onAgentOverLimit(): void }): Watchdog;
  /** Lets go of what held its processes, once they are gone. */
  release?: () => Promise<void>;
  patience?: Patience;
};

/** From the kernel's kill of the agent to the news that it is gone. */
const RECENT_MS = 500;

const defaultPatience: Patience = { timeoutGraceMs: 400, cancelGraceMs: 100, confirmMs: 1500 };

/** A sandbox over an agent that was started; `ready` resolves when it answers and rejects if it never does. */
export function createLocalSandbox(options: LocalSandboxOptions): {
  sandbox: LocalSandbox;
  ready: Promise<void>;
} {
  const { guest, limits, log, watch, release, patience = defaultPatience } = options;
  const session = createGuestSession(guest, log, () =>
    watchdog.killedSince(performance.now() - RECENT_MS) ? 'memory' : 'crashed',
  );
  const watchdog = watch({
    onAgentOverLimit: () => session.end('memory', 'the agent itself is over the limit'),
  });
  const ended = session.ended.finally(() => watchdog.stop());
  const released = ended.then(release);
  const timers = createTimers();
  const deps = { session, timers, watchdog, limits, patience };
  let lastPythonRun: Promise<unknown> = Promise.resolve();
  let lastId = 0;
  let frozen: Frozen | undefined;

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
  const newId = () => {
    session.requireAlive();
    lastId += 1;
    // No run can have this id.
    return `host:${lastId}`;
  };
  const pause = () => {
    session.requireAlive();
    timers.pause();
    frozen ??= guest.freeze();
  };

  const sandbox: LocalSandbox = {
    ...createGuestFiles(deps, newId),
    prepare: () => session.send({ op: 'prepare', id: 'prepare' }),
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
      await operateOnFile(deps, newId(), request);
    },
    async readFile(path) {
      return operateOnFile(deps, newId(), { op: 'read', path });
    },
    openTerminal: (terminalOptions) => openTerminal(deps, newId(), terminalOptions),
    watchFiles: (path, watchOptions) => watchFiles(deps, newId(), path, watchOptions),
    processes: () => listProcesses(guest.rootPid),
    pause,
    resume() {
      session.requireAlive();
      frozen?.thaw();
      frozen = undefined;
      timers.resume();
    },
    async stop() {
      await exchange(deps, { op: 'stop', id: newId() }, ({ event }) => (event === 'done' ? 'last' : 'stray'));
      pause();
    },
    async destroy() {
      session.end('destroyed');
      await released;
    },
  };
  return { sandbox, ready: session.ready };
}
