import type { RateFacts } from './governor.ts';

type Headers = Readonly<Record<string, string>>;

/** No documented window is longer than an hour; what claims to be longer than a day is a mistake. */
const MAX_HINT_MS = 86_400_000;
/** Clocks closer than this agree: `Date` has whole seconds. */
const SKEW_MS = 2_000;

/** How far the server's clock is ahead of ours by its `Date` header; undefined where it says nothing. */
export function clockSkewMs(headers: Headers, nowMs: number): number | undefined {
  const date = Date.parse(headers['date'] ?? '');
  if (Number.isNaN(date)) return undefined;
  return Math.abs(date - nowMs) <= SKEW_MS ? 0 : date - nowMs;
}

function serverNow(headers: Headers, nowMs: number): number {
  return nowMs + (clockSkewMs(headers, nowMs) ?? 0);
}

function sane(waitMs: number): number | undefined {
  return Number.isFinite(waitMs) && waitMs >= 0 ? Math.min(waitMs, MAX_HINT_MS) : undefined;
}

function retryAfterHeader(headers: Headers, nowMs: number): number | undefined {
  const value = headers['retry-after'];
  if (value === undefined) return undefined;
  const seconds = Number(value);
  return sane(Number.isNaN(seconds) ? Date.parse(value) - serverNow(headers, nowMs) : seconds * 1000);
}

/** How long the server asks to wait, in milliseconds: the longer of header and body, else the reset of its window. */
export function retryAfterMs(
  headers: Headers,
  bodySeconds: number | undefined,
  nowMs: number,
): number | undefined {
  const asked = [
    retryAfterHeader(headers, nowMs),
    bodySeconds === undefined ? undefined : sane(bodySeconds * 1000),
  ];
  const known = asked.filter((waitMs) => waitMs !== undefined);
  return known.length > 0 ? Math.max(...known) : rateFacts(headers, nowMs)?.resetInMs;
}

/**
 * The limit of this bucket: `RateLimit: "default";r=9;t=30` with `RateLimit-Policy: "default";q=10;w=60` (IETF
 * draft), or `X-RateLimit-Limit/-Remaining/-Reset` in Unix seconds (HopX). Undefined where a field lacks or is absurd.
 */
export function rateFacts(headers: Headers, nowMs: number): RateFacts | undefined {
  const remaining = field(headers['ratelimit'], 'r') ?? whole(headers['x-ratelimit-remaining']);
  const limit = field(headers['ratelimit-policy'], 'q') ?? whole(headers['x-ratelimit-limit']);
  const inSeconds = field(headers['ratelimit'], 't');
  const reset = latest(headers['x-ratelimit-reset']);
  const resetInMs =
    inSeconds !== undefined
      ? inSeconds * 1000
      : reset === undefined
        ? undefined
        : reset * 1000 - serverNow(headers, nowMs);
  if (limit === undefined || remaining === undefined || resetInMs === undefined) return undefined;
  if (limit < 1 || remaining > limit) return undefined;
  const wait = sane(Math.max(0, resetInMs));
  return wait === undefined ? undefined : { limit, remaining, resetInMs: wait };
}

/** "100 requests per minute" as the text of a refusal says it (HopX error page). */
export function policyInText(text: string | undefined): { limit: number; windowMs: number } | undefined {
  const match = /(\d{1,6})\s+\w+\s+(?:per|\/)\s*(second|minute|hour)/i.exec(text ?? '');
  const limit = Number(match?.[1]);
  const windowMs = { second: 1_000, minute: 60_000, hour: 3_600_000 }[match?.[2]?.toLowerCase() ?? ''];
  return windowMs === undefined || limit < 1 ? undefined : { limit, windowMs };
}

/** A number may have been cut to the digits that it is told in, so a window ends within its last digit, at the latest at its end. */
function latest(value: string | undefined): number | undefined {
  const told = whole(value);
  const digits = value?.trim().split('.')[1]?.length ?? 0;
  return told === undefined ? undefined : told + 10 ** -digits;
}

function whole(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,15}(\.\d{1,6})?$/.test(value.trim()) ? Number(value) : undefined;
}

function field(value: string | undefined, name: string): number | undefined {
  return whole(new RegExp(`;\\s*${name}=([\\d.]+)`).exec(value ?? '')?.[1]);
}
