import { describe, expect, test } from 'vitest';
import { type FailureCode, SandboxFailure } from '../../src/contract/failures.ts';
import { newCall } from '../support/calls.ts';
import { code, failing, type Script, scriptedSandboxes, settled } from './scripted-sandboxes.ts';

describe('a run', () => {
  test.each([
    ['nothing', undefined, undefined, undefined],
    ['that of its sandbox', { A: '1' }, undefined, { A: '1' }],
    ['its own', undefined, { B: '2' }, { B: '2' }],
    ['both, its own first', { A: '1', B: '1' }, { B: '2' }, { A: '1', B: '2' }],
  ] as const)('has an environment: %s', async (_says, ofSandbox, ofRun, sent) => {
    const { sandboxes, ran } = scriptedSandboxes();
    await sandboxes.create({ template: 'base', env: ofSandbox }, newCall());
    await sandboxes.execute({ ...code, sandboxId: 's1', env: ofRun }, newCall());
    expect(ran).toEqual([
      [
        's1',
        { code: '1', language: 'python', timeout: 60, workdir: '/workspace', ...(sent && { env: sent }) },
      ],
    ]);
  });

  test('has a workdir', async () => {
    const { sandboxes, ran } = scriptedSandboxes();
    await sandboxes.execute({ ...code, workdir: '/tmp' }, newCall());
    expect(ran).toMatchObject([['s1', { workdir: '/tmp' }]]);
  });

  type Ending = readonly [
    says: string,
    running: Script['running'],
    status: string,
    failure: FailureCode | undefined,
    facts: object,
  ];
  const endings: readonly Ending[] = [
    [
      'that failed, as the live service tells it',
      async () => ({ reply: { success: false, exit_code: 1, stdout: 'out' } }),
      'failed',
      'CODE_EXECUTION_ERROR',
      { httpStatus: 200 },
    ],
    [
      'that failed, as documented',
      async () => ({ reply: { exit_code: 1, stdout: 'out' }, httpStatus: 500, requestId: 'req_1' }),
      'failed',
      'CODE_EXECUTION_ERROR',
      { httpStatus: 500, requestId: 'req_1', endpoint: 'POST /execute' },
    ],
    [
      'that was out of time, as documented',
      async () => ({ reply: { exit_code: 1, stdout: 'out' }, httpStatus: 408 }),
      'timed_out',
      'EXECUTION_TIMEOUT',
      { httpStatus: 408 },
    ],
    [
      'that was out of time, told without its output',
      () => Promise.reject(new SandboxFailure('EXECUTION_TIMEOUT', { httpStatus: 408, requestId: 'req_1' })),
      'timed_out',
      'EXECUTION_TIMEOUT',
      { httpStatus: 408, requestId: 'req_1' },
    ],
    [
      'that failed, told without its output',
      () =>
        Promise.reject(new SandboxFailure('CODE_EXECUTION_ERROR', { httpStatus: 500, upstreamText: 'Oh' })),
      'failed',
      'CODE_EXECUTION_ERROR',
      { httpStatus: 500, upstreamText: 'Oh' },
    ],
    ['that was cancelled', failing('CANCELLED'), 'cancelled', undefined, {}],
  ];
  test.each(endings)('%s', async (_says, running, status, failureCode, facts) => {
    const { sandboxes } = scriptedSandboxes({ ...(running && { running }) });
    const { execution, failure } = await sandboxes.execute(code, newCall());
    expect(execution).toMatchObject({ sandbox_id: 's1', language: 'python', status });
    expect(failure?.code).toBe(failureCode);
    expect(failure?.facts ?? {}).toMatchObject(facts);
  });

  test('whose output is cut has it whole in its sandbox', async () => {
    const { sandboxes, written } = scriptedSandboxes({
      running: async () => ({ reply: { exit_code: 0, stdout: 'x'.repeat(5_000) } }),
    });
    const { execution } = await sandboxes.execute(code, newCall());
    const path = `/tmp/hopx-output/${execution.execution_id}.stdout.txt`;
    expect(written).toEqual([[path, 5_000]]);
    expect(execution.truncated).toMatchObject([{ total_chars: 5_000, full_output_path: path }]);
  });

  test('whose output could not be kept is well all the same', async () => {
    const { sandboxes } = scriptedSandboxes({
      running: async () => ({ reply: { exit_code: 0, stdout: 'x'.repeat(5_000) } }),
      writing: failing('FORBIDDEN'),
    });
    const { execution, failure } = await sandboxes.execute(code, newCall());
    expect([execution.status, failure]).toEqual(['completed', undefined]);
    expect(execution.truncated?.[0]).not.toHaveProperty('full_output_path');
  });

  /** A run that ends when it is told to, or is cancelled. */
  function lasting() {
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const running: Script['running'] = (_id, _request, signal) =>
      new Promise((resolve, reject) => {
        void ended.then(() => resolve({}));
        signal.addEventListener('abort', () => reject(new SandboxFailure('CANCELLED')));
      });
    return { end, ...scriptedSandboxes({ running }) };
  }
  const atOnce = () => newCall({ budgetMs: 0 });

  test('that outlasts its call goes on, and is told to the next one', async () => {
    const { sandboxes, end, ran } = lasting();
    const { execution } = await sandboxes.execute(code, atOnce());
    expect(execution).toMatchObject({ status: 'running', exit_code: null, sandbox_id: 's1' });
    expect(await sandboxes.wait(execution.execution_id, atOnce())).toMatchObject({
      execution: { status: 'running', execution_id: execution.execution_id },
    });
    end();
    expect(await sandboxes.wait(execution.execution_id, newCall())).toMatchObject({
      execution: { status: 'completed', stdout: 'out', execution_id: execution.execution_id },
      sandbox: { sandbox_id: 's1' },
    });
    expect(ran).toHaveLength(1);
  });

  test('can be stopped by its id', async () => {
    const { sandboxes } = lasting();
    const { execution } = await sandboxes.execute(code, atOnce());
    const stopped = await sandboxes.cancel(execution.execution_id, newCall());
    expect(stopped).toMatchObject({ execution: { status: 'cancelled', ended_by: 'cancel' } });
    expect(stopped).not.toHaveProperty('failure');
  });

  test('that ran detached and is stopped names the files that have all of its output', async () => {
    const { sandboxes } = scriptedSandboxes({ finding: 'x'.repeat(5_000) });
    const { execution } = await sandboxes.execute({ ...code, timeoutSeconds: 400 }, atOnce());
    const { execution_id: id } = execution;
    await expect
      .poll(async () => (await sandboxes.wait(id, atOnce())).execution.stdout, { timeout: 5_000 })
      .not.toBe('');
    expect(await sandboxes.cancel(id, newCall())).toMatchObject({
      execution: {
        status: 'cancelled',
        truncated: [{ stream: 'stdout', full_output_path: `/tmp/hopx-runs/${id}/stdout` }],
      },
    });
  });

  test('can be stopped by its caller', async () => {
    const { sandboxes } = lasting();
    const caller = new AbortController();
    const running = sandboxes.execute(code, newCall({ signal: caller.signal }));
    setImmediate(() => caller.abort());
    expect(await running).toMatchObject({ execution: { status: 'cancelled' } });
  });

  test('is stopped when the session ends', async () => {
    const { sandboxes, deleted } = lasting();
    const { execution } = await sandboxes.execute(code, atOnce());
    await sandboxes.close();
    expect(await sandboxes.wait(execution.execution_id, newCall())).toMatchObject({
      execution: { status: 'cancelled' },
    });
    expect(deleted).toEqual(['s1']);
  });

  test.each(['wait', 'cancel'] as const)('that is not known is refused: %s', async (verb) => {
    const { sandboxes } = scriptedSandboxes();
    expect(await settled(sandboxes[verb]('exec_0', newCall()))).toMatchObject({
      code: 'INVALID_ARGUMENTS',
      message: expect.stringContaining('execution_id "exec_0"'),
    });
  });
});
