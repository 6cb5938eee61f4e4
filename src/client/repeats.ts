import type { SandboxFailure } from '../contract/failures.ts';
import type { Verdict } from './classify.ts';
import type { RetryBudget } from './retry-budget.ts';

type Again = Extract<Verdict, { kind: 'again' }>;

/** What to do after an attempt that may be repeated: give up with a failure, or try again after a wait. */
type NextTry = { giveUp: SandboxFailure } | { waitMs: number };

type RepeatsOptions = {
  /** Doing it twice would do harm, so a refusal that explains nothing is believed only so often. */
  blind: boolean;
  /** Shared by all operations; only faults draw on it. */
  budget: RetryBudget;
  random?: () => number;
};

/**
 * Faults: at a rate of 70 % this still serves 999 of 1,000; the call's deadline is what mostly ends it. An API that
 * cannot be reached at all is more likely misspelt than ill.
 */
const MAX_TRIES = { fault: 20, not_sent: 5 };
/** Doubled from the first to the second; with longer waits a call's budget would hold too few tries. */
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 8_000;
/** What must not be done twice is left to the caller at the third refusal that names no wait. */
const MAX_UNHINTED_REFUSALS = 2;

/** How long a refusal counts that names no wait: 1 s, 2 s, 4 s … */
export function unhintedWaitMs(refusals: number): number {
  return Math.min(BACKOFF_CAP_MS, 1_000 * 2 ** refusals);
}

/** Decides, for one operation, whether and when there is another attempt. */
export function createRepeats({ blind, budget, random = Math.random }: RepeatsOptions) {
  const tries = { fault: 0, not_sent: 0 };
  let refusals = 0;
  let renewals = 0;

  const after = {
    auth: (): number | undefined => {
      renewals += 1;
      return renewals > 1 ? undefined : 0;
    },
    // The lane itself is paused for the wait, so the repeat may join the queue at once.
    rate: (waitMs: number | undefined): number | undefined => {
      if (waitMs !== undefined) return waitMs;
      refusals += 1;
      return blind && refusals > MAX_UNHINTED_REFUSALS ? undefined : unhintedWaitMs(refusals - 1);
    },
    fault: (why: 'fault' | 'not_sent', isProbe: boolean): number | undefined => {
      // An outage that the whole lane waits out says nothing about this operation: a probe is no try.
      if (isProbe) return 0;
      tries[why] += 1;
      if (tries[why] >= MAX_TRIES[why]) return undefined;
      const backoffMs = random() * Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (tries[why] - 1));
      // What never left this machine has cost the server nothing.
      return why === 'not_sent' ? backoffMs : Math.max(backoffMs, budget.withdraw());
    },
  };

  return {
    get refusals() {
      return refusals;
    },
    /**
     * `leftMs` is what remains of the call's time: a wait that is longer is reported, not slept. `isProbe` says
     * that the lane is closed for an outage, so that its breaker decides when the next attempt goes.
     */
    next(verdict: Again, leftMs: number, isProbe: boolean): NextTry {
      switch (verdict.why) {
        case 'auth':
          return after.auth() === undefined ? { giveUp: verdict.failure } : { waitMs: 0 };
        case 'rate': {
          const waitMs = after.rate(verdict.waitMs);
          if (waitMs !== undefined && waitMs <= leftMs) return { waitMs: 0 };
          return {
            giveUp: verdict.failure.with({ retryAfterSeconds: Math.ceil((waitMs ?? BACKOFF_CAP_MS) / 1000) }),
          };
        }
        case 'fault':
        case 'not_sent': {
          const waitMs = after.fault(verdict.why, isProbe);
          if (waitMs !== undefined && waitMs <= leftMs) return { waitMs };
          return { giveUp: verdict.failure.with({ retryAfterSeconds: BACKOFF_CAP_MS / 1000 }) };
        }
      }
    },
  };
}
