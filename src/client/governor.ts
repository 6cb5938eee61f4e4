/** What an answer says of its rate limit, from `RateLimit*` or `X-RateLimit-*` headers. */
export type RateFacts = { limit: number; remaining: number; resetInMs: number };

export type Governor = {
  /** Milliseconds until the next request may go; 0 for now, Infinity until an answer comes. */
  wait(urgent: boolean): number;
  /** How long a request that has `ahead` others before it would wait, as far as is known. */
  etaMs(ahead: number): number;
  /** What keeps requests back, if anything does. */
  reason(): 'rate limited' | 'unavailable' | undefined;
  onSend(sentMs: number): void;
  /** Every send ends in exactly one of these; `counted` is false when it used up nothing: never left, or refused. */
  onAnswer(answer: { sentMs: number; counted: boolean; facts?: RateFacts | undefined }): void;
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
/** The pause doubles from the first to the second, so that an outage's end is met within 8 s. */
const BREAKER_BASE_MS = 500;
const BREAKER_CAP_MS = 8_000;
/** Before the first answer, and while a breaker probes, so many requests may be in flight. */
const PROBES = 2;
/** A refusal comes sooner than this: what is in flight for longer was taken, and runs somebody's code. */
const TAKEN_MS = 1_000;
/** Two resets that differ by less are one, told in whole seconds. */
const RESET_SLACK_MS = 1_500;
/** Who shared the limit once is expected again for so many windows. */
const SHARED_WINDOWS = 10;
/** The first step of a limit that was learned back to the documented one; each clean step doubles the next. */
const GROWTH = 0.05;
/** The smallest documented limit is 20 a minute; a refusal after fewer than half of that has other reasons. */
const MIN_EVIDENCE = 10;
/** A reset further away than this contradicts the documented windows of a minute and is not believed. */
const MAX_RESET_MS = 600_000;

/** What headers said last. `toldMs` and `resetMs` are on our clock. */
type Seen = { remaining: number; toldMs: number; resetMs: number };

/**
 * Knows when a lane may send. In order of trust: a wait that the server asked for, its headers, and a log of
 * our own requests stamped when the answer came (the server counted each no later than that, so the log
 * never sends too early, whatever kind of window the server has, as long as nobody else uses it up).
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
  let ramp = prior === Infinity ? Infinity : PROBES;
  let faults = 0;
  let trips = 0;
  let growth = { share: GROWTH, dueMs: Infinity };
  let seen: Seen | undefined;
  let aloneUntil = 0;
  let sharedUntil = 0;
  let forgotMs = 0;
  const inFlight: number[] = [];
  const answered: number[] = [];

  const forget = (at: number) => {
    while (answered.length > 0 && (answered[0] ?? 0) + windowMs <= at) {
      answered.shift();
      forgotMs = at;
    }
  };
  const reserve = (urgent: boolean) =>
    urgent || reserveShare === 0 || limit === 1 ? 0 : Math.max(1, Math.floor(limit * reserveShare));
  const sentSince = (ms: number) => inFlight.filter((sentMs) => sentMs >= ms);

  const waitForRamp = (at: number): number => {
    if (inFlight.length < ramp) return 0;
    const open = sentSince(at - TAKEN_MS);
    return open.length < ramp ? 0 : (open[open.length - ramp] ?? at) + TAKEN_MS - at;
  };

  const waitForLog = (at: number, spare: number): number => {
    forget(at);
    const over = answered.length + inFlight.length + 1 - (limit - spare);
    if (over <= 0) return 0;
    const freeing = answered[over - 1];
    return freeing === undefined ? Infinity : freeing + windowMs - at;
  };

  const waitForHeaders = (at: number, spare: number, { remaining, toldMs, resetMs }: Seen): number => {
    if (at < resetMs) {
      const uncounted = sentSince(toldMs - TAKEN_MS).length;
      if (remaining - uncounted - spare > 0) return 0;
      // A bucket fills and a log forgets before the reset that they tell; ours knows when, if nobody else counts.
      return Math.min(resetMs - at, at < aloneUntil ? waitForLog(at, spare) : Infinity);
    }
    // One goes ahead into the new window, alone, and its answer opens the rest.
    const [ahead] = sentSince(resetMs);
    if (ahead !== undefined) return at < ahead + TAKEN_MS ? ahead + TAKEN_MS - at : waitForLog(at, spare);
    const [open] = sentSince(at - TAKEN_MS);
    return open === undefined ? 0 : open + TAKEN_MS - at;
  };

  /** The server says only that it was too much: what it took before that is the limit, until more is proven. */
  const learn = (at: number) => {
    forget(at);
    // A few requests say more about who else was there than about the limit.
    if (limit === Infinity || answered.length < MIN_EVIDENCE) return;
    // Of what is in flight some may have been taken; the refusals of the rest correct it.
    limit = Math.min(limit, answered.length + inFlight.length);
    growth = { share: GROWTH, dueMs: at + 2 * windowMs };
  };

  /** Somebody else may have used up the window that was learned from, so the limit creeps back to the prior. */
  const grow = (at: number) => {
    if (limit >= prior || at < growth.dueMs) return;
    limit = Math.min(prior, Math.ceil(limit * (1 + growth.share)));
    growth = { share: growth.share * 2, dueMs: at + 2 * windowMs };
  };

  /** Somebody else uses the limit as well, and our log knows nothing of that. */
  const share = (at: number) => {
    aloneUntil = 0;
    sharedUntil = at + SHARED_WINDOWS * windowMs;
  };

  const hear = (at: number, sentMs: number, facts: RateFacts) => {
    const resetMs = at + facts.resetInMs;
    limit = facts.limit;
    if (facts.resetInMs > windowMs + RESET_SLACK_MS) windowMs = facts.resetInMs;
    forget(at);
    const isOurs = facts.limit - facts.remaining <= answered.length + inFlight.length;
    if (isOurs && at >= sharedUntil) aloneUntil = at + windowMs;
    // What was forgotten since the request was sent was still counted.
    if (!isOurs && forgotMs <= sentMs) share(at);
    const isNewWindow =
      seen === undefined || seen.resetMs <= sentMs || resetMs > seen.resetMs + RESET_SLACK_MS;
    // Answers come out of order: inside one window the smallest count is the latest.
    if (isNewWindow || seen === undefined) seen = { remaining: facts.remaining, toldMs: at, resetMs };
    else {
      const isLatest = facts.remaining <= seen.remaining;
      seen = {
        remaining: Math.min(seen.remaining, facts.remaining),
        toldMs: isLatest ? at : seen.toldMs,
        resetMs: Math.max(seen.resetMs, resetMs),
      };
    }
  };

  const block = (untilMs: number, why: 'rate' | 'fault') => {
    if (untilMs <= blockedUntil) return;
    blockedUntil = untilMs;
    blockedFor = why;
  };

  const wait = (urgent: boolean): number => {
    const at = now();
    if (at < blockedUntil) return blockedUntil - at;
    const rampMs = waitForRamp(at);
    if (rampMs > 0) return rampMs;
    if (limit === Infinity) return 0;
    return seen === undefined ? waitForLog(at, reserve(urgent)) : waitForHeaders(at, reserve(urgent), seen);
  };

  return {
    wait,
    etaMs(ahead) {
      const at = now();
      forget(at);
      const blocked = Math.max(0, blockedUntil - at);
      if (limit === Infinity) return blocked;
      const spare = reserve(false);
      const used = inFlight.length + spare;
      const left = seen === undefined ? limit - answered.length - used : seen.remaining - used;
      if (blocked === 0 && ahead < left) return 0;
      const opensIn =
        blocked > 0
          ? blocked
          : Math.max(0, seen === undefined ? (answered[0] ?? at) + windowMs - at : seen.resetMs - at);
      return (
        opensIn + Math.floor(Math.max(0, ahead - Math.max(0, left)) / Math.max(1, limit - spare)) * windowMs
      );
    },
    reason() {
      const at = now();
      if (at < blockedUntil) return blockedFor === 'fault' ? 'unavailable' : 'rate limited';
      return waitForRamp(at) === 0 && wait(false) > 0 ? 'rate limited' : undefined;
    },
    onSend(sentMs) {
      inFlight.push(sentMs);
    },
    onAnswer({ sentMs, counted, facts }) {
      const at = now();
      inFlight.splice(inFlight.indexOf(sentMs), 1);
      if (counted && limit !== Infinity) {
        answered.push(at);
        forget(at);
        grow(at);
      }
      if (facts !== undefined && facts.resetInMs <= MAX_RESET_MS) hear(at, sentMs, facts);
      else if (facts === undefined && counted && seen !== undefined && at >= seen.resetMs) seen = undefined;
    },
    onThrottle(waitMs, policy) {
      const at = now();
      // Many servers may share the limit, and all of them hear the same wait: they must not come back as one.
      block(at + waitMs + random() * Math.min(waitMs * 0.25, windowMs * 0.05), 'rate');
      if (policy !== undefined) ({ limit, windowMs } = policy);
      else if (seen === undefined) learn(at);
      if (seen !== undefined && seen.resetMs < blockedUntil) {
        seen = { remaining: 0, toldMs: at, resetMs: blockedUntil };
        share(at);
      }
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
