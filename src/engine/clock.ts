/** What the engine knows of time; tests bring their own. */
export type Clock = {
  /** Unix time in milliseconds. */
  now(): number;
  /** Calls `run` once `now()` has reached `timeMs`, not before; the answer takes it back. */
  at(timeMs: number, run: () => void): () => void;
};

/** `setTimeout` fires at once when asked to wait longer than this (2^31 - 1 ms, 24.8 days). */
const MAX_TIMER_MS = 2_147_483_647;

/** The machine's clock; its timers do not keep the process alive. */
export const systemClock: Clock = { now: Date.now, at: (timeMs, run) => timerAt(timeMs, run, Date.now) };

/** Waits in steps that `setTimeout` can do, until the clock itself says that it is time. */
export function timerAt(timeMs: number, run: () => void, now: () => number): () => void {
  const arm = () => setTimeout(step, Math.min(Math.max(timeMs - now(), 0), MAX_TIMER_MS)).unref();
  const step = () => {
    if (now() >= timeMs) run();
    else timer = arm();
  };
  let timer = arm();
  return () => clearTimeout(timer);
}
