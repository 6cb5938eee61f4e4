import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';

type Run<T, About> = {
  about: About;
  abort: AbortController;
  outcome: Promise<T>;
  settled: boolean;
  startedMs: number;
};

/** How far a run is: without an outcome it still goes on. */
export type Progressed<T, About> = { about: About; elapsedMs: number; outcome?: T };

/** Work that outlives the calls that wait for it. */
export type Runs<T, About> = {
  /** Starts `work`, which outlives the call that started it; its signal aborts when the run is cancelled. */
  start(executionId: string, about: About, work: (signal: AbortSignal) => Promise<T>): void;
  /**
   * The run with its outcome, or without when the call's time is up first. An outcome is handed over once.
   * The caller's cancellation cancels the run. Throws `INVALID_ARGUMENTS` for an id that is not known.
   */
  wait(executionId: string, call: Call): Promise<Progressed<T, About>>;
  /** Stops a run; its outcome is still to be had from `wait`. */
  cancel(executionId: string): void;
  cancelAll(): void;
};

type RunsOptions<About> = {
  now?: () => number;
  /** What to tell a caller that waits. */
  describe?: (about: About, elapsedMs: number) => string;
  /** Outcomes that wait for a reader; the oldest goes first. */
  maxKept?: number;
};

/** An answer needs a moment to be written before its deadline. */
const ANSWER_MS = 250;
/** As often as a caller may be told of progress. */
const HEARTBEAT_MS = 500;
/** Each may hold pictures of 700,000 characters, and most are read at once. */
const MAX_KEPT = 50;
const timeIsUp = Symbol('time is up');

/** Runs in flight and those whose outcome nobody has read yet. */
export function createRuns<T, About>({
  now = () => performance.now(),
  describe = (_about, elapsedMs) => `running for ${Math.round(elapsedMs / 1000)} s`,
  maxKept = MAX_KEPT,
}: RunsOptions<About> = {}): Runs<T, About> {
  const runs = new Map<string, Run<T, About>>();

  const find = (executionId: string): Run<T, About> => {
    const run = runs.get(executionId);
    if (run !== undefined) return run;
    throw new SandboxFailure('INVALID_ARGUMENTS', {
      message: `execution_id "${executionId}" is not a run of this session that is still going or unread.`,
      remediation: 'Leave execution_id out and pass code to start a new run.',
    });
  };

  const keepFew = () => {
    const kept = [...runs].filter(([, run]) => run.settled);
    for (const [id] of kept.slice(0, Math.max(0, kept.length - maxKept))) runs.delete(id);
  };

  return {
    start(executionId, about, work) {
      const abort = new AbortController();
      const outcome = work(abort.signal);
      const run = { about, abort, outcome, settled: false, startedMs: now() };
      const settle = () => {
        run.settled = true;
        keepFew();
      };
      outcome.then(settle, settle);
      runs.set(executionId, run);
    },
    async wait(executionId, call) {
      const run = find(executionId);
      const cancelRun = () => run.abort.abort();
      if (call.signal.aborted) cancelRun();
      call.signal.addEventListener('abort', cancelRun, { once: true });
      let stopWaiting = () => {};
      const timeUp = new Promise<typeof timeIsUp>((resolve) => {
        const timer = setTimeout(resolve, call.deadlineMs - now() - ANSWER_MS, timeIsUp);
        const heartbeat = setInterval(() => {
          call.progress(describe(run.about, now() - run.startedMs));
        }, HEARTBEAT_MS);
        stopWaiting = () => {
          clearTimeout(timer);
          clearInterval(heartbeat);
        };
      });
      try {
        const answer = await Promise.race([run.outcome, timeUp]);
        const progressed = { about: run.about, elapsedMs: now() - run.startedMs };
        if (answer === timeIsUp) return progressed;
        runs.delete(executionId);
        return { ...progressed, outcome: answer };
      } catch (error) {
        runs.delete(executionId);
        throw error;
      } finally {
        stopWaiting();
        call.signal.removeEventListener('abort', cancelRun);
      }
    },
    cancel(executionId) {
      find(executionId).abort.abort();
    },
    cancelAll() {
      for (const run of runs.values()) run.abort.abort();
    },
  };
}
