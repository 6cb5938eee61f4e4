import { z } from 'zod';

/** How a server counts: `limit` requests in `windowMs`, of which `usedMs` are over when the first one comes. */
export const rateLimit = z.object({
  kind: z.enum(['fixed', 'sliding', 'bucket']),
  limit: z.number(),
  windowMs: z.number(),
  usedMs: z.number().default(0),
});
export type RateLimit = z.input<typeof rateLimit>;

/** `retryInMs` is when the next request may come, `resetInMs` when the count starts anew. */
export type Admission = { isAdmitted: boolean; remaining: number; resetInMs: number; retryInMs: number };

/** Admits or refuses each request as it comes; a refused one does not count. */
export function createRateLimiter(options: RateLimit, now: () => number): () => Admission {
  const { kind, limit, windowMs, usedMs } = rateLimit.parse(options);
  switch (kind) {
    case 'fixed':
      return fixedWindow(limit, windowMs, usedMs, now);
    case 'sliding':
      return slidingLog(limit, windowMs, now);
    case 'bucket':
      return tokenBucket(limit, windowMs, now);
  }
}

function fixedWindow(limit: number, windowMs: number, usedMs: number, now: () => number): () => Admission {
  let openedMs: number | undefined;
  let count = 0;
  return () => {
    openedMs ??= now() - usedMs;
    const windows = Math.floor((now() - openedMs) / windowMs);
    if (windows > 0) count = 0;
    openedMs += windows * windowMs;
    const isAdmitted = count < limit;
    if (isAdmitted) count += 1;
    const resetInMs = openedMs + windowMs - now();
    return { isAdmitted, remaining: limit - count, resetInMs, retryInMs: resetInMs };
  };
}

function slidingLog(limit: number, windowMs: number, now: () => number): () => Admission {
  const admitted: number[] = [];
  return () => {
    while (admitted[0] !== undefined && admitted[0] + windowMs <= now()) admitted.shift();
    const isAdmitted = admitted.length < limit;
    if (isAdmitted) admitted.push(now());
    const resetInMs = (admitted[0] ?? now()) + windowMs - now();
    return { isAdmitted, remaining: limit - admitted.length, resetInMs, retryInMs: resetInMs };
  };
}

function tokenBucket(limit: number, windowMs: number, now: () => number): () => Admission {
  const perMs = limit / windowMs;
  let tokens = limit;
  let atMs = now();
  return () => {
    tokens = Math.min(limit, tokens + (now() - atMs) * perMs);
    atMs = now();
    const isAdmitted = tokens >= 1;
    if (isAdmitted) tokens -= 1;
    const retryInMs = Math.max(0, 1 - tokens) / perMs;
    return { isAdmitted, remaining: Math.floor(tokens), resetInMs: (limit - tokens) / perMs, retryInMs };
  };
}
