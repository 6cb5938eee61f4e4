import { expect, test } from 'vitest';
import { createFrameChecker } from './mcp-schema.ts';

const ask = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'a' } };
const answer = (result: object) => ({ jsonrpc: '2.0', id: 1, result });
const notification = (params: object) => ({ jsonrpc: '2.0', method: 'notifications/progress', params });

/** Every test that speaks the protocol rests on it. */
test.each([
  ['an answer', answer({ content: [{ type: 'text', text: 'a' }] }), 0],
  ['an answer without content', answer({ structuredContent: {} }), 1],
  ['a block without its text', answer({ content: [{ type: 'text' }] }), 1],
  [
    'an image that is not base64',
    answer({ content: [{ type: 'image', data: '…', mimeType: 'image/png' }] }),
    1,
  ],
  ['an answer to another question', { ...answer({ content: [] }), id: 2 }, 1],
  ['another version', { ...answer({ content: [] }), jsonrpc: '1.0' }, 1],
  ['progress', notification({ progressToken: 1, progress: 1 }), 0],
  ['progress without its token', notification({ progress: 1 }), 1],
] as const)('the schema of the protocol tells %s', (_says, frame, problems) => {
  const checker = createFrameChecker();
  checker.check('client', ask);
  checker.check('server', frame);
  expect(checker.problems).toHaveLength(problems);
});
