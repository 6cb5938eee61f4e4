import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { SandboxFailure } from '../../src/contract/failures.ts';
import type { ExecuteReply } from '../../src/contract/hopx.ts';
import { scriptedSandboxes } from '../sandboxes/scripted-sandboxes.ts';
import { withServer } from '../support/connect.ts';

const shown = z.object({ content: z.tuple([z.object({ text: z.string() })]).rest(z.unknown()) });

/** What a host reads that shows text: all of a stream, or where in the sandbox it is. */
describe('of every stream the text has all, or names the file that does', () => {
  const png = 'aGk=';
  const [failed, timedOut] = [
    { exit_code: 1, success: false },
    { exit_code: 124, ended_by: 'timeout' },
  ] as const;
  const long = (chars: number) => 'x'.repeat(chars);
  const cases: readonly (readonly [says: string, limitChars: number, reply: ExecuteReply, files: number])[] =
    [
      ['little of all', 20_000, { stdout: long(9), stderr: long(9), result: long(9) }, 0],
      ['what the limit allows', 20_000, { stdout: long(20_000) }, 0],
      [
        'what the limit allows in all',
        20_000,
        { stdout: long(12_000), stderr: long(6_000), result: long(6_000) },
        0,
      ],
      ['with a picture, which hides the structured form', 20_000, { stdout: long(20_000), png }, 0],
      [
        'more than the limit',
        20_000,
        { stdout: long(20_001), stderr: long(20_001), result: long(20_001) },
        0,
      ],
      ['the least limit', 1_000, { stdout: long(1_001), stderr: long(900) }, 0],
      ['the largest limit', 100_000, { stdout: long(100_000) }, 0],
      ['with files, which are long too', 20_000, { stdout: long(20_000) }, 10],
      ['of code that failed', 20_000, { ...failed, stdout: long(2_000), stderr: long(2_000) }, 0],
      ['of code that failed with much', 20_000, { ...failed, stdout: long(9_000), stderr: long(9_000) }, 0],
      ['of code that failed, with files', 20_000, { ...failed, stdout: long(5_000), stderr: long(400) }, 10],
      ['of code that failed, with a picture', 20_000, { ...failed, stdout: long(9_000), png }, 0],
      ['of code that ran out of time', 20_000, { ...timedOut, stdout: long(9_000) }, 0],
    ];
  test.each(cases)('%s', async (_says, outputLimitChars, reply, files) => {
    const { sandboxes, written } = scriptedSandboxes({
      outputLimitChars,
      running: async () => ({ reply: { exit_code: 0, execution_time: 9, ...reply } }),
      reading: () => 'y'.repeat(8_000),
    });
    const read_paths = Array.from({ length: files }, (_, nth) => `${nth}.txt`);
    const result = await withServer({ sandboxes }, ({ call }) =>
      call('execute_code', { code: '1', read_paths }),
    );
    const text = shown.parse(result).content[0].text;
    for (const stream of ['stdout', 'stderr', 'result'] as const) {
      const whole = reply[stream];
      if (!whole || text.includes(`\n${stream}:\n${whole}`)) continue;
      const file = written.find(([path]) => path.endsWith(`.${stream}.txt`));
      expect([stream, file?.[1]]).toEqual([stream, whole.length]);
      expect(text).toContain(file?.[0] ?? 'no file');
    }
    if (result.isError) expect(text.length).toBeLessThanOrEqual(8_000);
  });

  test('of code whose end was lost it says that the rest is lost too', async () => {
    const { sandboxes } = scriptedSandboxes({
      outputLimitChars: 20_000,
      printing: long(30_000),
      running: () => Promise.reject(new SandboxFailure('EXECUTION_TIMEOUT')),
    });
    const result = await withServer({ sandboxes }, ({ call }) => call('execute_code', { code: '1' }));
    expect(shown.parse(result).content[0].text).toContain(
      'stdout has 30000 characters; the rest was not kept.',
    );
  });
});
