import { describe, expect, test } from 'vitest';
import { policyInText, rateFacts, retryAfterMs } from '../../src/client/rate-hints.ts';

const NOW = Date.parse('2026-01-01T00:00:00Z');
const at = (seconds: number) => String(NOW / 1000 + seconds);
const date = (ms: number) => new Date(NOW + ms).toUTCString();

describe('how long a refusal asks to wait', () => {
  const rows: [
    says: string,
    headers: Record<string, string>,
    bodySeconds: number | undefined,
    waitMs: number | undefined,
  ][] = [
    ['nothing is said', {}, undefined, undefined],
    ['the body, in seconds', {}, 30, 30_000],
    ['a fraction of a second', {}, 0.25, 250],
    ['the header, in seconds', { 'retry-after': '7' }, undefined, 7_000],
    ['the header, as a date', { 'retry-after': date(9_000), date: date(0) }, undefined, 9_000],
    [
      'a date on a clock that is an hour off',
      { 'retry-after': date(3_609_000), date: date(3_600_000) },
      undefined,
      9_000,
    ],
    ['header and body disagree: the longer', { 'retry-after': '7' }, 30, 30_000],
    [
      'only the reset of the window',
      { 'x-ratelimit-limit': '10', 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': at(5) },
      undefined,
      6_000,
    ],
    ['a negative wait is not believed', {}, -5, undefined],
    [
      'a date in the past is not believed',
      { 'retry-after': date(-9_000), date: date(0) },
      undefined,
      undefined,
    ],
    ['words are not believed', { 'retry-after': 'soon' }, undefined, undefined],
    ['an hour is an hour', {}, 3_600, 3_600_000],
    ['ten years are cut to a day', {}, 315_360_000, 86_400_000],
    ['infinity is not believed', {}, Number.POSITIVE_INFINITY, undefined],
  ];
  for (const [says, headers, bodySeconds, waitMs] of rows) {
    test(says, () => expect(retryAfterMs(headers, bodySeconds, NOW)).toBe(waitMs));
  }
});

describe('what headers say of the limit', () => {
  const hopx = (limit: string, remaining: string, reset: string) => ({
    'x-ratelimit-limit': limit,
    'x-ratelimit-remaining': remaining,
    'x-ratelimit-reset': reset,
  });
  const rows: [says: string, headers: Record<string, string>, facts: object | undefined][] = [
    [
      'HopX, whose whole second may be rounded down',
      hopx('100', '42', at(30)),
      { limit: 100, remaining: 42, resetInMs: 31_000 },
    ],
    [
      'a tenth of a second, which may be rounded down as well',
      hopx('100', '42', at(30.5)),
      { limit: 100, remaining: 42, resetInMs: 30_600 },
    ],
    [
      'the IETF draft',
      { ratelimit: '"default";r=9;t=30', 'ratelimit-policy': '"default";q=10;w=60' },
      { limit: 10, remaining: 9, resetInMs: 30_000 },
    ],
    [
      'a server whose clock is ten minutes ahead',
      { ...hopx('100', '42', at(630)), date: date(600_000) },
      { limit: 100, remaining: 42, resetInMs: 31_000 },
    ],
    ['a reset in the past is now', hopx('100', '0', at(-3)), { limit: 100, remaining: 0, resetInMs: 0 }],
    ['one field is missing', { 'x-ratelimit-remaining': '42' }, undefined],
    ['more left than there is', hopx('10', '11', at(30)), undefined],
    ['a limit of nothing', hopx('0', '0', at(30)), undefined],
    ['negative figures', hopx('100', '-1', at(30)), undefined],
    ['no figures', hopx('many', 'few', 'later'), undefined],
  ];
  for (const [says, headers, facts] of rows) test(says, () => expect(rateFacts(headers, NOW)).toEqual(facts));
});

describe('a limit in the text of a refusal', () => {
  const rows: [text: string, policy: object | undefined][] = [
    ['Rate limit exceeded: 100 requests per minute', { limit: 100, windowMs: 60_000 }],
    ['20 sandboxes / hour', { limit: 20, windowMs: 3_600_000 }],
    ['slow down', undefined],
    ['0 requests per minute', undefined],
  ];
  for (const [text, policy] of rows) test(text, () => expect(policyInText(text)).toEqual(policy));
});
