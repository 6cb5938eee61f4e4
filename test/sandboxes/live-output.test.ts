import { describe, expect, test } from 'vitest';
import { createLiveOutput } from '../../src/sandboxes/live-output.ts';

const LIMIT = 1_000;

function listen(pieces: readonly string[]) {
  const live = createLiveOutput(LIMIT);
  for (const piece of pieces) live.add('stdout', piece);
  return live;
}

describe('output so far', () => {
  const cases: readonly (readonly [says: string, pieces: readonly string[]])[] = [
    ['nothing', []],
    ['what fits', ['a\n', 'b\n']],
    ['exactly the limit', ['x'.repeat(LIMIT)]],
    ['one character more', ['x'.repeat(LIMIT), 'y']],
    ['what is kept whole until it is shown', ['x'.repeat(3 * LIMIT)]],
    ['what is dropped while it comes', ['x'.repeat(3 * LIMIT + 1)]],
    ['a flood in one piece', ['x'.repeat(100_000)]],
    ['a flood in many pieces', Array.from({ length: 10_000 }, (_, line) => `line ${line}\n`)],
  ];
  test.each(cases)('%s: its ends, and how much is between them', (_says, pieces) => {
    const whole = pieces.join('');
    const { shown, totalChars, isCut } = listen(pieces).shown('stdout');
    const [head = '', tail = ''] = shown.split(/\n\[… \d+ characters left out …\]\n/);
    const leftOut = [...shown.matchAll(/\[… (\d+) characters left out …\]/g)].map(([, chars]) =>
      Number(chars),
    );
    expect([totalChars, isCut]).toEqual([whole.length, whole.length > LIMIT]);
    expect(shown.length).toBeLessThanOrEqual(LIMIT);
    expect(whole.startsWith(head) && whole.endsWith(tail)).toBe(true);
    expect(leftOut).toEqual(isCut ? [whole.length - head.length - tail.length] : []);
  });

  test('that is no text is described', () => {
    expect(listen(['\0'.repeat(5_000)]).shown('stdout').shown).toMatch(/^\[binary output, about 5000 bytes;/);
  });

  test('is told for each stream by itself', () => {
    const live = listen(['out']);
    live.add('stderr', 'err');
    expect([live.shown('stdout').shown, live.shown('stderr').shown]).toEqual(['out', 'err']);
  });

  test.each([
    ['nothing', [], true],
    ['something', ['a'], false],
  ] as const)('is empty or not after %s', (_says, pieces, isEmpty) => {
    expect(listen(pieces).isEmpty).toBe(isEmpty);
  });
});

test.each([
  ['that says anything', ['one\ntwo\n', ' \n\n'], 'two'],
  ['in pieces', ['one\nt', 'wo'], 'two'],
  ['far from the first', ['x\n'.repeat(5_000), 'two\n'], 'two'],
  ['of none', [], ''],
] as const)('the last line %s', (_says, pieces, line) => {
  expect(listen(pieces).lastLine()).toBe(line);
});

test('a last line that is long is cut', () => {
  expect(listen(['x'.repeat(5_000)]).lastLine().length).toBeLessThanOrEqual(120);
});
