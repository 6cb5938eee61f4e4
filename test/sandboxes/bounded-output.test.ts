import { describe, expect, test } from 'vitest';
import { boundOutput } from '../../src/sandboxes/bounded-output.ts';

const LIMIT = 1_000;
const binary = (bytes: number) =>
  `[binary output, about ${bytes} bytes; write it to a file in the sandbox and process it there]`;

describe('output that fits', () => {
  const cases: readonly (readonly [says: string, text: string, shown: string])[] = [
    ['nothing', '', ''],
    ['text', 'a\nb\n', 'a\nb\n'],
    ['exactly the limit', 'x'.repeat(LIMIT), 'x'.repeat(LIMIT)],
    ['colours, which are taken out', '\u001b[31mred\u001b[0m', 'red'],
    ['a link of the terminal', '\u001b]8;;http://a\u0007a\u001b]8;;\u0007', 'a'],
    ['what fits once its colours are out', '\u001b[31mx\u001b[0m'.repeat(LIMIT), 'x'.repeat(LIMIT)],
    ['a NUL, which no text has', 'a\0b', binary(3)],
    ['more than a tenth undecodable', '\uFFFD'.repeat(4) + 'x'.repeat(30), binary(42)],
    ['a few undecodable', '\uFFFD'.repeat(3), '\uFFFD'.repeat(3)],
    [
      'less than a tenth undecodable',
      '\uFFFD'.repeat(4) + 'x'.repeat(40),
      '\uFFFD'.repeat(4) + 'x'.repeat(40),
    ],
  ];
  test.each(cases)('%s', (_says, text, shown) => {
    expect(boundOutput(text, LIMIT)).toEqual({ shown, totalChars: shown.length, isCut: false });
  });
});

describe('output that is too long', () => {
  const cases: readonly (readonly [says: string, text: string])[] = [
    ['by one character', 'x'.repeat(LIMIT + 1)],
    ['by far', `${'a'.repeat(5_000_000)}z`],
    ['with its head cut inside a character', 'x'.repeat(573) + '😀'.repeat(1_000)],
    ['with its head cut beside a character', 'x'.repeat(574) + '😀'.repeat(1_000)],
    ['with its tail cut inside a character', '😀'.repeat(1_000) + 'x'.repeat(383)],
    ['with its tail cut beside a character', '😀'.repeat(1_000) + 'x'.repeat(382)],
  ];
  test.each(cases)(
    '%s keeps head and tail within the limit, and counts what it leaves out',
    (_says, text) => {
      const { shown, totalChars, isCut } = boundOutput(text, LIMIT);
      const [, head = '', leftOut, tail = ''] =
        /^([^\n]*)\n\[… (\d+) characters left out …\]\n(.*)$/.exec(shown) ?? [];
      expect([isCut, totalChars]).toEqual([true, text.length]);
      expect(shown.length).toBeLessThanOrEqual(LIMIT);
      expect(shown.length).toBeGreaterThan(LIMIT * 0.95);
      expect(text.startsWith(head) && text.endsWith(tail)).toBe(true);
      expect(head.length / (head.length + tail.length)).toBeCloseTo(0.6, 2);
      expect(Number(leftOut) + head.length + tail.length).toBe(text.length);
      expect(shown).not.toMatch(/\p{Cs}/u);
    },
  );
});
