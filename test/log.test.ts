import { describe, expect, test } from 'vitest';
import { createLog, type LogLevel } from '../src/log.ts';

function written(level: LogLevel, redact?: (text: string) => string) {
  const lines: string[] = [];
  const log = createLog({
    level,
    ...(redact !== undefined && { redact }),
    write: (line) => void lines.push(line),
    now: () => new Date(0),
  });
  return { lines, log };
}

describe('a log writes from its level upwards', () => {
  const cases: readonly (readonly [level: LogLevel, written: readonly string[]])[] = [
    ['debug', ['debug', 'info', 'warn', 'error']],
    ['info', ['info', 'warn', 'error']],
    ['warn', ['warn', 'error']],
    ['error', ['error']],
    ['silent', []],
  ];
  test.each(cases)('%s', (level, expected) => {
    const { lines, log } = written(level);
    for (const name of ['debug', 'info', 'warn', 'error'] as const) log[name](name);
    expect(lines.map((line) => JSON.parse(line).level)).toEqual(expected);
  });
});

test('an event is one line of JSON, whatever is in it', () => {
  const { lines, log } = written('info');
  log.info('two\nlines', { count: 2, text: '"quoted"\n' });
  expect(lines).toEqual([
    '{"time":"1970-01-01T00:00:00.000Z","level":"info","message":"two\\nlines","count":2,"text":"\\"quoted\\"\\n"}\n',
  ]);
});

test('secrets are taken out of message and fields, also those that JSON would escape', () => {
  const { lines, log } = written('info', (text) => text.replaceAll('se"cret', '[redacted]'));
  log.info('a se"cret', { deep: { inner: ['se"cret'] } });
  expect(JSON.parse(lines.join(''))).toMatchObject({
    message: 'a [redacted]',
    deep: { inner: ['[redacted]'] },
  });
});
