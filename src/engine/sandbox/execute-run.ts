import { SandboxFailure } from '../../contract/failures.ts';
import type { GuestEvent } from './guest-events.ts';
import { endFailure, type GuestSession, quoted } from './guest-session.ts';
import type { Limits } from './limits.ts';
import type { RunOptions, RunRequest, RunResult } from './run.ts';
import { createRunRecord } from './run-record.ts';
import type { Timers } from './timers.ts';
import type { Watchdog } from './watchdog.ts';

/** How long the host waits for the agent. */
export type Patience = {
  /** From the interrupt of a run to the kill: time for `finally` blocks and for the kernel to report. */
  timeoutGraceMs: number;
  cancelGraceMs: number;
  /** From the kill to the end of the sandbox whose agent does not confirm it. */
  confirmMs: number;
};

type RunDeps = {
  session: GuestSession;
  timers: Timers;
  watchdog: Watchdog;
  limits: Limits;
  patience: Patience;
};

type Leftovers = Pick<Extract<GuestEvent, { event: 'exit' }>, 'artifacts' | 'artifactsTotal'>;

/** What shells and `timeout` answer for these ends. */
const exitCodes = { timeout: 124, cancel: 130, memory: 137 } as const;

/** A run that was cancelled before its turn came. */
export const neverStarted: RunResult = {
  stdout: '',
  stderr: '',
  exitCode: exitCodes.cancel,
  executionTimeMs: 0,
  endedBy: 'cancel',
  variablesLost: false,
  truncated: [],
};

/** Runs code in the sandbox; the wall clock is this one, whatever the guest says. */
export function executeRun(deps: RunDeps, request: RunRequest, options: RunOptions): Promise<RunResult> {
  const { session, timers, watchdog, limits, patience } = deps;
  const { runId: id, language, code, env, workdir } = request;
  const { signal, onOutput = () => {} } = options;
  return new Promise((resolve, reject) => {
    const record = createRunRecord(limits, onOutput);
    const startedMs = performance.now();
    let endedBy: keyof typeof exitCodes | undefined;
    let stopTimer = () => {};

    const settle = (finish: () => void) => {
      stopTimer();
      signal?.removeEventListener('abort', cancel);
      session.finish(id);
      watchdog.runEnded();
      finish();
    };
    const succeed = (exitCode: number, variablesLost: boolean, left: Leftovers = {}) =>
      settle(() =>
        resolve({
          ...record.output(),
          exitCode,
          executionTimeMs: performance.now() - startedMs,
          variablesLost,
          ...(left.artifacts !== undefined && { artifacts: left.artifacts }),
          ...(left.artifactsTotal !== undefined && { artifactsTotal: left.artifactsTotal }),
          ...(endedBy !== undefined && { endedBy, exitCode: exitCodes[endedBy] }),
        }),
      );
    const stop = (reason: 'timeout' | 'cancel', graceMs: number) => {
      if (endedBy !== undefined) return;
      endedBy = reason;
      stopTimer();
      session.send({ op: 'interrupt', id });
      stopTimer = timers.after(graceMs, () => {
        session.send({ op: 'kill', id });
        const why = 'the agent did not confirm a kill';
        stopTimer = timers.after(patience.confirmMs, () => session.end('crashed', why));
      });
    };
    const cancel = () => stop('cancel', patience.cancelGraceMs);

    session.begin(id, {
      take(event, lineBytes) {
        switch (event.event) {
          case 'output':
          case 'cut':
          case 'rich':
            return record.take(event, lineBytes);
          case 'exit':
            if (event.code === exitCodes.memory && watchdog.killedSince(startedMs)) endedBy ??= 'memory';
            succeed(event.code, event.variablesLost, event);
            return true;
          case 'failed':
            settle(() => reject(new SandboxFailure(event.code, { message: quoted(event.message) })));
            return true;
          default:
            return false;
        }
      },
      sandboxEnded(reason) {
        if (reason === 'memory') endedBy ??= 'memory';
        if (endedBy !== undefined) succeed(exitCodes[endedBy], true);
        else settle(() => reject(endFailure(reason).with({ outcome: 'unknown' })));
      },
    });
    watchdog.runStarted();
    session.send({ op: 'run', id, language, code, env, ...(workdir !== undefined && { workdir }) });
    stopTimer = timers.after(request.timeoutMs, () => stop('timeout', patience.timeoutGraceMs));
    signal?.addEventListener('abort', cancel);
    if (signal?.aborted) cancel();
  });
}
