import { SandboxFailure } from '../contract/failures.ts';
import type { Clock } from './clock.ts';

/** Requests a minute: to the control plane, to one sandbox's agent, and creations of sandboxes. */
export type RateFigures = { control: number; agent: number; create: number };

/** What a request counts for; `key` tells apart what is counted separately. */
export type RateCount = { kind: keyof RateFigures; key: string };

/** The count with the least room left, as the `X-RateLimit-*` headers tell it. */
type RateState = { limit: number; remaining: number; resetSeconds: number };

export type RateLimits = {
  /** Counts a request, or, where it is one too many for any of the counts, none of them. */
  admit(counts: readonly RateCount[]): RateState & { refusal?: SandboxFailure };
};

const WINDOW_MS = 60_000;

type Window = { endsMs: number; used: number };

/** Fixed windows of a minute, each from its first request on; a refused request does not count. */
export function createRateLimits(figures: RateFigures, clock: Pick<Clock, 'now'>): RateLimits {
  const windows = new Map<string, Window>();

  const windowOf = ({ kind, key }: RateCount): Window => {
    const name = `${kind} ${key}`;
    const found = windows.get(name);
    if (found !== undefined && clock.now() < found.endsMs) return found;
    // Sandboxes come and go: what is over is let go of whenever a new count begins.
    for (const [other, { endsMs }] of windows) if (endsMs <= clock.now()) windows.delete(other);
    const opened = { endsMs: clock.now() + WINDOW_MS, used: 0 };
    windows.set(name, opened);
    return opened;
  };

  return {
    admit(counts) {
      const states = counts.map((count) => ({ limit: figures[count.kind], window: windowOf(count) }));
      const room = ({ limit, window }: (typeof states)[number]) => limit - window.used;
      const tightest = states.reduce((one, other) => (room(other) < room(one) ? other : one));
      const isRefused = room(tightest) <= 0;
      if (!isRefused) for (const { window } of states) window.used += 1;
      const { limit, window } = tightest;
      const state = {
        limit,
        remaining: Math.max(0, room(tightest)),
        resetSeconds: Math.ceil(window.endsMs / 1000),
      };
      if (!isRefused) return state;
      const refusal = new SandboxFailure('RATE_LIMIT_EXCEEDED', {
        message: `Rate limit exceeded: ${limit} requests per minute`,
        retryAfterSeconds: Math.max(1, Math.ceil((window.endsMs - clock.now()) / 1000)),
      });
      return { ...state, refusal };
    },
  };
}
