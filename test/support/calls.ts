import type { Call } from '../../src/contract/call.ts';

/** A tool call's frame, with a time limit that a test chooses. */
export function newCall({
  budgetMs = 10_000,
  signal = new AbortController().signal,
  progress = () => {},
}: {
  budgetMs?: number;
  signal?: AbortSignal;
  progress?: (message: string) => void;
} = {}): Call {
  return { signal, deadlineMs: performance.now() + budgetMs, progress, stats: { attempts: 0, queuedMs: 0 } };
}
