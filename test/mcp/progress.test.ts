import { expect, onTestFinished, test } from 'vitest';
import { createProgress } from '../../src/mcp/progress.ts';

function sender(token: string | number | undefined) {
  const sent: unknown[] = [];
  let nowMs = 0;
  const progress = createProgress(
    token,
    async ({ params }) => void sent.push(params),
    () => nowMs,
  );
  return {
    sent,
    at(timeMs: number, message: string) {
      nowMs = timeMs;
      progress(message);
    },
  };
}

test('progress goes out at most twice a second, and counts up', () => {
  const { sent, at } = sender('token');
  for (let timeMs = 0; timeMs < 2_000; timeMs += 100) at(timeMs, `${timeMs} ms`);
  expect(sent).toEqual(
    [0, 500, 1_000, 1_500].map((timeMs, index) => ({
      progressToken: 'token',
      progress: index + 1,
      message: `${timeMs} ms`,
    })),
  );
});

test.each([
  ['a word', 'token', 1],
  ['zero', 0, 1],
  ['nothing', undefined, 0],
] as const)('with %s for a token', (_says, token, count) => {
  const { sent, at } = sender(token);
  at(0, 'waiting');
  expect(sent).toHaveLength(count);
});

test('a caller that has left is no failure', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  process.on('unhandledRejection', note);
  onTestFinished(() => void process.off('unhandledRejection', note));
  const progress = createProgress(
    'token',
    () => Promise.reject(new Error('closed')),
    () => 0,
  );
  progress('waiting');
  // Node tells of a rejection that nobody took once the microtasks are done.
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).toEqual([]);
});
