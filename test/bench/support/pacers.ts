import { createGovernor, type Governor } from '../../../src/client/governor.ts';
import { createJointGovernor } from '../../../src/client/joint-governor.ts';

/** HopX's documented limits of an account. */
export const WINDOW_MS = 60_000;
export const CONTROL_LIMIT = 100;
export const CREATE_LIMIT = 20;

export type Kind = 'create' | 'read' | 'delete';
export type Answer = { ok: boolean; limit: number; remaining: number; resetInMs: number };

/** As `retry_after` tells a wait. */
function wholeSeconds(ms: number): number {
  return Math.ceil(ms / 1_000) * 1_000;
}

/** What a server does between an answer and the next request. */
export type Pacer = {
  waitMs(kind: Kind): number;
  sent(kind: Kind): void;
  heard(kind: Kind, answer: Answer): void;
};

/** As the product's lanes are wired: a create waits for both limits, a delete may use the reserve. */
export function governed(now: () => number, random: () => number): Pacer {
  const control = createGovernor({
    limit: CONTROL_LIMIT,
    windowMs: WINDOW_MS,
    reserveShare: 0.05,
    now,
    random,
  });
  const creation = createGovernor({ limit: CREATE_LIMIT, windowMs: WINDOW_MS, now, random });
  const both = createJointGovernor(creation, control);
  const of = (kind: Kind): Governor => (kind === 'create' ? both : control);
  let sentMs = 0;
  return {
    waitMs: (kind) => of(kind).wait(kind === 'delete'),
    sent(kind) {
      sentMs = now();
      of(kind).onSend(sentMs);
    },
    heard(kind, { ok, ...facts }) {
      of(kind).onAnswer({ sentMs, counted: ok, facts });
      if (ok) of(kind).onSuccess();
      else of(kind).onThrottle(wholeSeconds(facts.resetInMs));
    },
  };
}

/** Sleeps what it is told, and a share of a window more, drawn anew each time. */
export function sleeper(spread: number) {
  return (now: () => number, random: () => number): Pacer => {
    let untilMs = 0;
    return {
      waitMs: () => Math.max(0, untilMs - now()),
      sent() {},
      heard(_kind, { ok, resetInMs }) {
        untilMs = ok ? 0 : now() + wholeSeconds(resetInMs) + random() * spread * WINDOW_MS;
      },
    };
  };
}
