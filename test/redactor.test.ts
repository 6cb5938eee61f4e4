import { describe, expect, test } from 'vitest';
import { createRedactor } from '../src/redactor.ts';

const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzYnhfMSJ9.c2lnbmF0dXJl_-';

describe('a redactor takes out', () => {
  const cases: readonly (readonly [says: string, secrets: readonly string[], text: string, clean: string])[] =
    [
      ['a known value', ['s3cret-value'], 'key=s3cret-value.', 'key=[redacted].'],
      [
        'a known value wherever it is',
        ['s3cret-value'],
        's3cret-value/s3cret-value',
        '[redacted]/[redacted]',
      ],
      ['a value with signs that a pattern would read', ['a.*+?(b)$'], 'x a.*+?(b)$ a1b', 'x [redacted] a1b'],
      ['all of a value that begins with another', ['abcdef', 'abcdefghij'], 'abcdefghij', '[redacted]'],
      ['what is shaped like a key', [], 'hopx_live_Ab12.cd-EF_3 hopx_test_9999', '[redacted] [redacted]'],
      ['what is shaped like a token', [], `Bearer ${jwt}, then`, 'Bearer [redacted], then'],
      ['no word that happens to be a value', ['true'], 'it is true', 'it is true'],
      [
        'nothing else',
        ['s3cret-value'],
        'eyJ is no token, hopx_live is none',
        'eyJ is no token, hopx_live is none',
      ],
    ];
  test.each(cases)('%s', (_says, secrets, text, clean) => {
    expect(createRedactor(secrets).redact(text)).toBe(clean);
    const later = createRedactor();
    for (const secret of secrets) later.add(secret);
    expect(later.redact(text)).toBe(clean);
  });
});

test('old tokens are forgotten, what it was made with never', () => {
  const { add, redact } = createRedactor(['the api key']);
  add('first token');
  for (let n = 0; n < 1_000; n += 1) add(`token number ${n}`);
  expect(redact('the api key; first token; token number 999')).toBe('[redacted]; first token; [redacted]');
});
