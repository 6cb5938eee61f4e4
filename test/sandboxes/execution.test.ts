import { describe, expect, test } from 'vitest';
import type { FailureCode } from '../../src/contract/failures.ts';
import type { ExecuteReply } from '../../src/contract/hopx.ts';
import type { Execution, ExecutionStatus } from '../../src/contract/results.ts';
import { bareExecution, failureOf, type KeepOutput, readExecution } from '../../src/sandboxes/execution.ts';

const program = { executionId: 'exec_1', sandboxId: 'sbx_1', language: 'python', timeoutSeconds: 5 } as const;
const neverKept: KeepOutput = async () => {
  throw new Error('there was nothing to keep');
};
const read = (reply: ExecuteReply, limitChars = 1_000, keep = neverKept) =>
  readExecution(program, reply, limitChars, keep);

describe('how a run ended', () => {
  const cases: readonly (readonly [
    says: string,
    reply: ExecuteReply,
    status: ExecutionStatus,
    failure: FailureCode | undefined,
  ])[] = [
    ['well', { success: true, exit_code: 0 }, 'completed', undefined],
    ['well, told without success', { exit_code: 0 }, 'completed', undefined],
    ['well, told without exit code', { success: true, stdout: 'a' }, 'completed', undefined],
    ['ill, as the live service tells it', { success: false, exit_code: 1 }, 'failed', 'CODE_EXECUTION_ERROR'],
    ['ill, although its exit code is 0', { success: false, exit_code: 0 }, 'failed', 'CODE_EXECUTION_ERROR'],
    ['ill, told by its exit code alone', { exit_code: 2 }, 'failed', 'CODE_EXECUTION_ERROR'],
    ['in no known way', { stdout: 'a' }, 'failed', 'CODE_EXECUTION_ERROR'],
    ['ill, as documented', { exit_code: 1, code: 'CODE_EXECUTION_ERROR' }, 'failed', 'CODE_EXECUTION_ERROR'],
    [
      'out of time, as documented',
      { exit_code: 1, code: 'EXECUTION_TIMEOUT' },
      'timed_out',
      'EXECUTION_TIMEOUT',
    ],
    [
      'out of time, as the engine tells it',
      { exit_code: 0, ended_by: 'timeout' },
      'timed_out',
      'EXECUTION_TIMEOUT',
    ],
    ['killed at its time', { exit_code: 137, execution_time: 5.01 }, 'timed_out', 'EXECUTION_TIMEOUT'],
    ['stopped at its time', { exit_code: 124, execution_time: 5 }, 'timed_out', 'EXECUTION_TIMEOUT'],
    ['killed before its time', { exit_code: 137, execution_time: 1 }, 'failed', 'CODE_EXECUTION_ERROR'],
    ['by itself after its time', { exit_code: 1, execution_time: 6 }, 'failed', 'CODE_EXECUTION_ERROR'],
    ['out of memory', { exit_code: 137, ended_by: 'memory' }, 'failed', 'CODE_EXECUTION_ERROR'],
    ['cancelled', { exit_code: 137, ended_by: 'cancel' }, 'cancelled', undefined],
  ];
  test.each(cases)('%s', async (_says, reply, status, failure) => {
    const { execution } = await read(reply);
    expect(execution).toMatchObject({
      execution_id: 'exec_1',
      sandbox_id: 'sbx_1',
      language: 'python',
      status,
    });
    expect(failureOf(execution, 5)?.code).toBe(failure);
  });
});

describe('what a failure says of the program', () => {
  const cases: readonly (readonly [
    says: string,
    reply: ExecuteReply,
    message: string,
    quoted: string | undefined,
  ])[] = [
    ['its exit code', { exit_code: 3 }, 'The python code failed with exit code 3.', undefined],
    [
      'its last words',
      { exit_code: 1, stderr: 'Traceback\nKeyError: 1\n\n' },
      'The python code failed with exit code 1.',
      'KeyError: 1',
    ],
    [
      'its memory',
      { exit_code: 137, ended_by: 'memory' },
      'The code was stopped because it used more memory than the sandbox has.',
      undefined,
    ],
    ['its time', { ended_by: 'timeout' }, 'The code was stopped at its time limit of 5 s.', undefined],
  ];
  test.each(cases)('%s', async (_says, reply, message, quoted) => {
    const failure = failureOf((await read(reply)).execution, 5);
    expect(failure?.message).toBe(message);
    expect(failure?.facts).toMatchObject({
      sandboxId: 'sbx_1',
      ...(quoted !== undefined && { upstreamText: quoted }),
    });
  });
});

test('what a reply says comes through', async () => {
  const reply: ExecuteReply = {
    exit_code: 0,
    stdout: 'a',
    stderr: 'b',
    execution_time: 0.5,
    result: '42',
    variables_lost: true,
  };
  expect(await read(reply)).toEqual({
    images: [],
    execution: {
      execution_id: 'exec_1',
      sandbox_id: 'sbx_1',
      language: 'python',
      status: 'completed',
      stdout: 'a',
      stderr: 'b',
      exit_code: 0,
      execution_time_seconds: 0.5,
      result: '42',
      variables_lost: true,
    } satisfies Execution,
  });
});

test.each([
  ['a figure', 'aGk=', 1],
  ['none', '', 0],
  ['one that a host would cut', 'x'.repeat(700_001), 0],
] as const)('images: %s', async (_says, png, count) => {
  const { execution, images } = await read({ exit_code: 0, png }, 1_000, async (name) => `/tmp/${name}`);
  expect(images).toHaveLength(count);
  // What no host shows is kept in the sandbox and named.
  expect(execution.files?.map(({ path }) => path)).toEqual(png.length > 10 ? ['/tmp/exec_1.png'] : undefined);
  expect(execution.images).toEqual(count === 0 ? undefined : { count, media_types: ['image/png'] });
});

describe('output beyond the limit', () => {
  const long = 'x'.repeat(3_000);
  const cut = [{ stream: 'stdout', total_chars: 9_000, full_output_path: '/tmp/all' }] as const;
  const cases: readonly (readonly [
    says: string,
    reply: ExecuteReply,
    path: string | undefined,
    told: object,
  ])[] = [
    [
      'is kept in a file',
      { stdout: long },
      '/tmp/kept',
      { total_chars: 3_000, full_output_path: '/tmp/kept' },
    ],
    ['is told where it could not be kept', { stdout: long }, undefined, { total_chars: 3_000 }],
    [
      'was cut at its source, which kept it',
      { stdout: 'x', truncated: [...cut] },
      '/tmp/no',
      { total_chars: 9_000, full_output_path: '/tmp/all' },
    ],
    [
      'was cut at its source, and is lost',
      { stdout: long, truncated: [{ stream: 'stdout', total_chars: 9_000 }] },
      '/tmp/no',
      { total_chars: 9_000 },
    ],
  ];
  test.each(cases)('%s', async (_says, reply, path, told) => {
    const kept: unknown[] = [];
    const { execution } = await read({ exit_code: 0, ...reply }, 1_000, async (name, content) => {
      kept.push([name, 'content' in content && content.content.length]);
      return path;
    });
    expect(execution.truncated).toEqual([
      { stream: 'stdout', shown_chars: execution.stdout.length, ...told },
    ]);
    expect(kept).toEqual(reply.truncated ? [] : [['exec_1.stdout.txt', 3_000]]);
  });

  test('is kept for each stream by itself', async () => {
    const names: string[] = [];
    const reply = { exit_code: 1, stdout: long, stderr: long, result: long };
    await read(reply, 1_000, async (name) => void names.push(name));
    expect(names).toEqual(['exec_1.stdout.txt', 'exec_1.stderr.txt', 'exec_1.result.txt']);
  });
});

test.each([
  ['timed_out', { ended_by: 'timeout' }],
  ['cancelled', { ended_by: 'cancel' }],
  ['running', {}],
] as const)('a run of which no more is known than that it is %s', (status, ending) => {
  expect(bareExecution(program, status, 2.5)).toEqual({
    execution_id: 'exec_1',
    sandbox_id: 'sbx_1',
    language: 'python',
    status,
    stdout: '',
    stderr: '',
    exit_code: null,
    execution_time_seconds: 2.5,
    ...ending,
  });
});
