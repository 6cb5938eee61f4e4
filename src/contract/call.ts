/** What one tool call may cost, and how it hears of waiting; passed from the tool down to the queue. */
export type Call = {
  /** Aborted when the caller cancelled or the server stops. */
  signal: AbortSignal;
  /** On the clock of `performance.now()`: when the call must have answered. */
  deadlineMs: number;
  /** Somebody listens to `progress`. */
  isHeard?: boolean;
  /** Tells the caller what it waits for; does nothing unless the caller asked for progress. */
  progress(message: string): void;
  /** Added to by everything that the call sets off. */
  stats: { attempts: number; queuedMs: number };
};

/** A call that nobody makes and nobody hears: what the server does for itself. */
export function ownCall(budgetMs: number, signal = new AbortController().signal): Call {
  return {
    signal,
    deadlineMs: performance.now() + budgetMs,
    progress() {},
    stats: { attempts: 0, queuedMs: 0 },
  };
}
