/** What an answer says of its rate limit, from `RateLimit*` or `X-RateLimit-*` headers. */
export type RateFacts = { limit: number; remaining: number; resetInMs: number };

export type Governor = {
  /** Milliseconds until the next request may go; 0 for now, Infinity until an answer comes. */
  wait(urgent: boolean): number;
  /** How long a request that has `ahead` others before it would wait, as far as is known. */
  etaMs(ahead: number): number;
  /** What keeps requests back, if anything does. */
  reason(): 'rate limited' | 'unavailable' | undefined;
  onSend(): void;
  /** Every send ends in exactly one of these; `counted` is false when the request never left. */
  onAnswer(answer: { counted: boolean; facts?: RateFacts | undefined }): void;
  /** The server refused for its rate limit; nothing goes before `waitMs` is over. */
  onThrottle(waitMs: number, policy?: { limit: number; windowMs: number } | undefined): void;
  onSuccess(): void;
  /** A refusal or a broken connection; eight in a row close the lane for a while. */
  onFault(): void;
};

type GovernorOptions = {
  /** The documented rate, a prior: headers and refusals overrule it. Infinity where nothing is limited. */
  limit: number;
  windowMs: number;
  /** The share of a window that only urgent requests may use. */
  reserveShare?: number;
  now?: () => number;
  random?: () => number;
};

/** Faults in a row after which more requests are more harm than hope. */
const FAULTS_TO_OPEN = 8;
const BREAKER_BASE_MS = 500;
const BREAKER_CAP_MS = 8_000;
/** Before the first answer, and while a breaker probes, so many requests may be in flight. */
const PROBES = 2;
/** The smallest documented limit is 20 a minute; a refusal after fewer than half of that has other reasons. */
const MIN_EVIDENCE = 10;
/** A reset further away than this contradicts the documented windows of a minute and is not believed. */
const MAX_RESET_MS = 600_000;

/**
 * Knows when a lane may send. In order of trust: a wait that the server asked for, its headers, and a log of
 * our own requests stamped when the answer came (the server counted each no later than that, so the log
 * never sends too early, whatever kind of window the server has).
 */
export function createGovernor({
  limit: prior,
  windowMs: priorWindowMs,
  reserveShare = 0,
  now = () => performance.now(),
  random = Math.random,
}: GovernorOptions): Governor {
  let limit = prior;
  let windowMs = priorWindowMs;
  let blockedUntil = 0;
  let blockedFor: 'rate' | 'fault' = 'rate';
  let ramp = PROBES;
  let inFlight = 0;
  let faults = 0;
  let trips = 0;
  let growsAt = Infinity;
  let seen: { remaining: number; resetAt: number } | undefined;
  const answered: number[] = [];

  const forget = (at: number) => {
    while (answered.length > 0 && (answered[0] ?? 0) + windowMs <= at) answered.shift();
  };
  const reserve = (urgent: boolean) =>
    urgent || reserveShare === 0 || limit === 1 ? 0 : Math.max(1, Math.floor(limit * reserveShare));

  const waitForLog = (at: number, spare: number): number => {
    forget(at);
    const over = answered.length + inFlight + 1 - (limit - spare);
    if (over <= 0) return 0;
    const freeing = answered[over - 1];
    return freeing === undefined ? Infinity : freeing + windowMs - at;
  };

  const waitForHeaders = (
    at: number,
    spare: number,
    known: { remaining: number; resetAt: number },
  ): number => {
    if (at >= known.resetAt) return inFlight > 0 ? Infinity : 0;
    if (known.remaining - inFlight - spare > 0) return 0;
    // With requests in flight the count may still turn out better than feared, but never before the reset.
    return known.resetAt - at;
  };

  /** The server says only that it was too much: what it took before that is the limit, until more is proven. */
  const learn = (at: number) => {
    forget(at);
    // A few requests say more about who else was there than about the limit.
    if (limit === Infinity || answered.length < MIN_EVIDENCE) return;
    limit = Math.min(limit, answered.length - 1);
    growsAt = at + 2 * windowMs;
  };

  /** Somebody else may have used up the window that was learned from, so the limit creeps back to the prior. */
  const grow = (at: number) => {
    if (limit >= prior || at < growsAt) return;
    limit = Math.min(prior, Math.ceil(limit * 1.5));
    growsAt = at + 2 * windowMs;
  };

  const block = (untilMs: number, why: 'rate' | 'fault') => {
    if (untilMs <= blockedUntil) return;
    blockedUntil = untilMs;
    blockedFor = why;
  };

  return {
    wait(urgent) {
      const at = now();
      if (at < blockedUntil) return blockedUntil - at;
      if (inFlight >= ramp) return Infinity;
      if (limit === Infinity) return 0;
      return seen === undefined ? waitForLog(at, reserve(urgent)) : waitForHeaders(at, reserve(urgent), seen);
    },
    etaMs(ahead) {
      const at = now();
      forget(at);
      const blocked = Math.max(0, blockedUntil - at);
      if (limit === Infinity) return blocked;
      const spare = reserve(false);
      const left =
        seen === undefined ? limit - spare - answered.length - inFlight : seen.remaining - spare - inFlight;
      if (blocked === 0 && ahead < left) return 0;
      const opensIn =
        blocked > 0
          ? blocked
          : Math.max(0, seen === undefined ? (answered[0] ?? at) + windowMs - at : seen.resetAt - at);
      return (
        opensIn + Math.floor(Math.max(0, ahead - Math.max(0, left)) / Math.max(1, limit - spare)) * windowMs
      );
    },
    reason() {
      if (now() < blockedUntil) return blockedFor === 'fault' ? 'unavailable' : 'rate limited';
      return this.wait(false) > 0 && inFlight < ramp ? 'rate limited' : undefined;
    },
    onSend() {
      inFlight += 1;
    },
    onAnswer({ counted, facts }) {
      const at = now();
      inFlight -= 1;
      if (counted && limit !== Infinity) {
        answered.push(at);
        forget(at);
        grow(at);
      }
      if (facts === undefined) {
        if (counted && seen !== undefined && at >= seen.resetAt) seen = undefined;
        return;
      }
      if (facts.resetInMs > MAX_RESET_MS) return;
      limit = facts.limit;
      const resetAt = at + facts.resetInMs;
      // Answers come out of order: inside one window the smallest count is the latest.
      const sameWindow = seen !== undefined && at < seen.resetAt && resetAt <= seen.resetAt + 1_500;
      seen =
        sameWindow && seen !== undefined
          ? { remaining: Math.min(seen.remaining, facts.remaining), resetAt: seen.resetAt }
          : { remaining: facts.remaining, resetAt };
    },
    onThrottle(waitMs, policy) {
      const at = now();
      // Many servers may share the limit, and all of them hear the same wait: they must not come back as one.
      block(at + waitMs + random() * Math.min(waitMs * 0.25, windowMs * 0.05), 'rate');
      if (policy !== undefined) ({ limit, windowMs } = policy);
      else if (seen === undefined) learn(at);
      if (seen !== undefined && seen.resetAt < blockedUntil) seen = { remaining: 0, resetAt: blockedUntil };
      ramp = 1;
    },
    onSuccess() {
      faults = 0;
      trips = 0;
      if (ramp !== Infinity) ramp = ramp * 2 > 1024 ? Infinity : ramp * 2;
    },
    onFault() {
      faults += 1;
      if (faults < FAULTS_TO_OPEN) return;
      const pauseMs = Math.min(BREAKER_CAP_MS, BREAKER_BASE_MS * 2 ** trips);
      trips += 1;
      faults = FAULTS_TO_OPEN - PROBES;
      ramp = PROBES;
      block(now() + pauseMs * (0.5 + random() * 0.5), 'fault');
    },
  };
}
