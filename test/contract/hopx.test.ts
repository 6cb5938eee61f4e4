import { describe, expect, test } from 'vitest';
import { type ErrorBody, isResultBody, listReply, parseErrorBody } from '../../src/contract/hopx.ts';

describe('an error body says', () => {
  const cases: readonly (readonly [says: string, body: unknown, told: ErrorBody])[] = [
    [
      'flat',
      { error: 'Sandbox not found', code: 'NOT_FOUND', request_id: 'req_1' },
      { code: 'NOT_FOUND', text: 'Sandbox not found', requestId: 'req_1' },
    ],
    [
      'nested',
      {
        error: {
          code: 'CONFLICT',
          message: 'Busy',
          request_id: 'req_2',
          details: { retry_after_seconds: 3 },
        },
      },
      { code: 'CONFLICT', text: 'Busy', requestId: 'req_2', retryAfterSeconds: 3 },
    ],
    [
      'nested, with the request id outside',
      { error: { code: 'CONFLICT', message: 'Busy' }, request_id: 'req_3' },
      { code: 'CONFLICT', text: 'Busy', requestId: 'req_3' },
    ],
    [
      'inverted',
      { error: 'RATE_LIMIT_EXCEEDED', message: 'Slow down', retry_after: 7 },
      { code: 'RATE_LIMIT_EXCEEDED', text: 'Slow down', retryAfterSeconds: 7 },
    ],
    [
      'flat with the wait in its details',
      { error: 'Slow down', code: 'RATE_LIMIT_EXCEEDED', details: { retry_after_seconds: 9 } },
      { code: 'RATE_LIMIT_EXCEEDED', text: 'Slow down', retryAfterSeconds: 9 },
    ],
    ['a message alone', { message: 'Oh no' }, { text: 'Oh no' }],
    ['a code that is a sentence', { error: 'x', code: 'It broke' }, { text: 'x' }],
    ['members of wrong types', { error: 7, code: [], message: {}, request_id: 1, retry_after: 'soon' }, {}],
    [
      'one wrong member among right ones',
      { error: 'Oh', code: 5, request_id: 'req_4' },
      { text: 'Oh', requestId: 'req_4' },
    ],
    ['a page', '<html>502</html>', {}],
    ['nothing', undefined, {}],
    ['null', null, {}],
    ['a list', [{ error: 'x' }], {}],
    ['a number', 500, {}],
  ];
  test.each(cases)('%s', (_says, body, told) => expect(parseErrorBody(body)).toEqual(told));
});

test.each([
  ['a result', true, { stdout: 'a', stderr: '', exit_code: 1 }],
  [
    'a result with an error beside it',
    true,
    { error: 'x', code: 'CODE_EXECUTION_ERROR', stdout: '', exit_code: 1 },
  ],
  ['a result with stderr alone', true, { stderr: 'x', exit_code: 137 }],
  ['no exit code', false, { stdout: 'a', stderr: '' }],
  ['an exit code without a stream', false, { exit_code: 1 }],
  ['an exit code in words', false, { stdout: '', exit_code: '1' }],
  ['an error', false, { error: 'x', code: 'INTERNAL_ERROR' }],
  ['text', false, 'stdout'],
  ['nothing', false, undefined],
] as const)('%s is a result body: %s', (_says, is, body) => expect(isResultBody(body)).toBe(is));

test.each([
  ['null for no sandboxes', { data: null }, []],
  [
    'nulls and strangers among sandboxes',
    { data: [null, { id: 'a', status: 'running' }, { id: '' }, 3] },
    ['a'],
  ],
] as const)('a list may hold %s', (_says, body, ids) => {
  expect(listReply.parse(body).data.map(({ id }) => id)).toEqual(ids);
});
