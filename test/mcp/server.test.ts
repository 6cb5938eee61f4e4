import { ErrorCode, McpError } from '@modelcontextprotocol/sdk/types.js';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { SandboxFailure } from '../../src/contract/failures.ts';
import type { Execution, Sandbox } from '../../src/contract/results.ts';
import { createLog } from '../../src/log.ts';
import { createRedactor } from '../../src/redactor.ts';
import type { Sandboxes } from '../../src/sandboxes/sandboxes.ts';
import { withServer } from '../support/connect.ts';

const sandbox: Sandbox = {
  sandbox_id: 'sbx_1',
  status: 'running',
  template: 'code-interpreter',
  backend: 'local',
  isolation: 'A wall.',
  internet_access: false,
  languages: ['python', 'bash'],
  workdir: '/workspace',
  created_at: '2030-01-01T00:00:00Z',
  expires_at: null,
};
const execution: Execution = {
  execution_id: 'exec_1',
  sandbox_id: 'sbx_1',
  language: 'python',
  status: 'completed',
  stdout: '42\n',
  stderr: '',
  exit_code: 0,
  execution_time_seconds: 0.25,
};
const deletion = { sandbox_id: 'sbx_1', already_gone: true };

/** One call of each tool that goes well. */
const going: readonly (readonly [
  tool: string,
  args: Record<string, unknown>,
  payload: Record<string, unknown>,
])[] = [
  ['execute_code', { code: '42' }, { execution, sandbox }],
  ['create_sandbox', {}, { sandbox }],
  ['delete_sandbox', { sandbox_id: 'sbx_1' }, { deletion }],
  ['list_sandboxes', {}, { sandboxes: [sandbox] }],
];
const willing: Partial<Sandboxes> = {
  execute: async () => ({ execution, images: [], sandbox }),
  create: async () => sandbox,
  delete: async () => deletion,
  list: async () => [sandbox],
};
const failing = (error: unknown): Partial<Sandboxes> => {
  const fail = () => Promise.reject(error);
  return { execute: fail, create: fail, delete: fail, list: fail };
};
const cost = { attempts: 0, queued_ms: 0, elapsed_ms: 0 };

describe('every tool', () => {
  test.each(going)('%s answers in both forms', async (tool, args, payload) => {
    const result = await withServer({ sandboxes: willing, now: () => 0 }, ({ call }) => call(tool, args));
    expect(result.isError).toBeUndefined();
    expect(result.structuredContent).toEqual({ ...payload, call: cost });
    expect(result.content).toEqual([{ type: 'text', text: expect.stringContaining('sbx_1') }]);
  });

  test.each([
    ['none', [], 'There are no sandboxes.'],
    ['one', [sandbox], '1 sandbox:\n- sbx_1: '],
    [
      'of unknown age',
      [{ ...sandbox, created_at: null }],
      '1 sandbox:\n- sbx_1: running; template code-interpreter; languages python, bash; workdir /workspace; internet off; created at an unknown time; expires never; ',
    ],
    ['two', [sandbox, sandbox], '2 sandboxes:\n- sbx_1: '],
  ] as const)('list_sandboxes says how many there are: %s', async (_says, all, begins) => {
    const list = async () => [...all];
    const { content } = await withServer({ sandboxes: { list } }, ({ call }) => call('list_sandboxes'));
    const [{ text }] = z.tuple([z.object({ text: z.string() })]).parse(content);
    expect(text.slice(0, begins.length)).toBe(begins);
  });

  test.each(going)('%s answers with a failure that the client takes', async (tool, args) => {
    const failure = new SandboxFailure('SERVICE_UNAVAILABLE', { retryAfterSeconds: 3 });
    const result = await withServer({ sandboxes: failing(failure) }, ({ call }) => call(tool, args));
    expect(result).toMatchObject({
      isError: true,
      structuredContent: { error: { code: 'SERVICE_UNAVAILABLE', retry_after_seconds: 3 }, call: {} },
      content: [{ type: 'text', text: expect.stringMatching(/^SERVICE_UNAVAILABLE: /) }],
    });
  });

  test.each(going)('%s tells a configuration problem and does nothing', async (tool, args) => {
    const problem = new SandboxFailure('CONFIGURATION_ERROR', { message: 'LOG_LEVEL must be one of debug.' });
    const result = await withServer({ problem }, ({ call }) => call(tool, args));
    expect(result).toMatchObject({
      isError: true,
      structuredContent: { error: { code: 'CONFIGURATION_ERROR', outcome: 'not_performed' } },
      content: [{ text: expect.stringMatching(/^CONFIGURATION_ERROR: LOG_LEVEL must be/) }],
    });
  });

  test.each(going)('%s keeps to itself what nobody foresaw', async (tool, args) => {
    const lines: string[] = [];
    const log = createLog({ level: 'error', write: (line) => void lines.push(line) });
    const error = new TypeError('at /home/me/secret.ts:7');
    const result = await withServer({ sandboxes: failing(error), log }, ({ call }) => call(tool, args));
    expect(result).toMatchObject({ isError: true, structuredContent: { error: { code: 'INTERNAL_ERROR' } } });
    expect(JSON.stringify(result)).not.toMatch(/secret|TypeError/);
    expect(lines).toEqual([expect.stringContaining('TypeError: at /home/me/secret.ts:7')]);
  });
});

describe('a call that is refused', () => {
  const cases: readonly (readonly [tool: string, args: Record<string, unknown>, says: RegExp])[] = [
    [
      'execute_code',
      { code: '1', timeout: 5 },
      /timeout: no such argument; execute_code takes code, language, /,
    ],
    ['execute_code', { code: '1', tiemout: 5, lang: 'go' }, /tiemout, lang: no such argument/],
    ['execute_code', {}, /code: must be given to start a run/],
    ['execute_code', { code: '' }, /code: Too small/],
    ['execute_code', { code: 7 }, /code: Invalid input: expected string, received number/],
    [
      'execute_code',
      { code: '1', language: 'ruby' },
      /language: Invalid option: expected one of "python"\|"javascript"/,
    ],
    [
      'execute_code',
      { code: '1', timeout_seconds: 3_601 },
      /timeout_seconds: Too big: expected number to be <=3600/,
    ],
    ['execute_code', { code: '1', workdir: 'src' }, /workdir: must be an absolute path/],
    [
      'execute_code',
      { code: '1', env: { 'A B': 'x' } },
      /env.A B: the name of a variable must be letters, digits and _, not starting with a digit/,
    ],
    [
      'create_sandbox',
      { env: { '1a': 'x' } },
      /env.1a: the name of a variable must be letters, digits and _, not starting with a digit/,
    ],
    ['execute_code', { code: '1', env: { A: 1 } }, /env.A: Invalid input: expected string, received number/],
    ['execute_code', { code: '1', execution_id: 'exec_1' }, /code: .*left out when execution_id is given/],
    ['execute_code', { code: '1', cancel: true }, /cancel: goes with execution_id only/],
    ['execute_code', { execution_id: 'exec_1', files: [] }, /files: goes with code only/],
    ['execute_code', { execution_id: 'exec_1', read_paths: ['a'] }, /read_paths: goes with code only/],
    ['execute_code', { execution_id: 'exec_1', env: {} }, /env: goes with code only/],
    ['execute_code', { execution_id: 'exec_1', workdir: '/tmp' }, /workdir: goes with code only/],
    [
      'execute_code',
      { execution_id: 'exec_1', timeout_seconds: 300 },
      /timeout_seconds: goes with code only/,
    ],
    [
      'execute_code',
      { code: '1', sandbox_id: '../x' },
      /sandbox_id: must be the sandbox_id that create_sandbox/,
    ],
    ['create_sandbox', { timeout_seconds: 0 }, /timeout_seconds: Too small: expected number to be >=60/],
    ['create_sandbox', { timeout_seconds: 90.5 }, /timeout_seconds: .*expected int/],
    ['create_sandbox', { internet_access: 'yes' }, /internet_access: Invalid input: expected boolean/],
    ['create_sandbox', { image: 'x' }, /image: no such argument; create_sandbox takes template, /],
    ['delete_sandbox', {}, /sandbox_id: Invalid input: expected string, received undefined/],
    ['list_sandboxes', { all: true }, /all: no such argument; list_sandboxes takes none/],
  ];
  test.each(cases)('%s %j', async (tool, args, says) => {
    const result = await withServer({}, ({ call }) => call(tool, args));
    expect(result).toMatchObject({
      isError: true,
      structuredContent: {
        error: { code: 'INVALID_ARGUMENTS', message: expect.stringMatching(says), outcome: 'not_performed' },
      },
    });
  });

  test('answers briefly, whatever was sent', async () => {
    const result = await withServer({}, ({ call }) => call('execute_code', { ['x'.repeat(500_000)]: 1 }));
    expect(JSON.stringify(result).length).toBeLessThan(8_000);
  });

  test('for a tool that does not exist is an error of the protocol, which names those that do', async () => {
    const error = await withServer({}, ({ call }) => call('run_code').catch((thrown: unknown) => thrown));
    expect(error).toBeInstanceOf(McpError);
    expect(error).toMatchObject({
      code: ErrorCode.InvalidParams,
      message: expect.stringMatching(
        /"run_code".*execute_code, create_sandbox, delete_sandbox, list_sandboxes/,
      ),
    });
  });
});

describe('a run', () => {
  const failure = new SandboxFailure('CODE_EXECUTION_ERROR');
  const run = (executed: Awaited<ReturnType<Sandboxes['execute']>>) =>
    withServer({ sandboxes: { execute: async () => executed }, now: () => 0 }, ({ call }) =>
      call('execute_code', { code: '42' }),
    );

  test('that failed brings its output beside the error', async () => {
    const failed: Execution = { ...execution, status: 'failed', exit_code: 1, stderr: 'Traceback' };
    expect(await run({ execution: failed, images: [], failure })).toMatchObject({
      isError: true,
      structuredContent: {
        execution: { stdout: '42\n', stderr: 'Traceback' },
        error: { outcome: 'performed' },
      },
      content: [
        { text: expect.stringMatching(/^CODE_EXECUTION_ERROR: [\s\S]*stdout:\n42\nstderr:\nTraceback/) },
      ],
    });
  });

  test('with a figure answers with text and image alone', async () => {
    const images = [{ mediaType: 'image/png', base64: 'aGk=' }];
    const result = await run({ execution, images });
    expect(result).not.toHaveProperty('structuredContent');
    expect(result.content.map(({ type }) => type)).toEqual(['text', 'image']);
  });

  test('says in its text what its structure says of the run', async () => {
    const result = await run({
      execution: {
        ...execution,
        status: 'timed_out',
        result: 'None',
        ended_by: 'memory',
        variables_lost: true,
        truncated: [
          { stream: 'stdout', shown_chars: 3, total_chars: 900, full_output_path: '/tmp/all.txt' },
          { stream: 'stderr', shown_chars: 3, total_chars: 800 },
        ],
      },
      images: [],
      sandbox,
    });
    const [{ text }] = z.tuple([z.object({ text: z.string() })]).parse(result.content);
    expect(text).toBe(
      [
        'python timed out, exit code 0, 0.25 s, execution exec_1, sandbox sbx_1.',
        'result:',
        'None',
        'stdout:',
        '42',
        'Ended by: memory.',
        'The Python process was restarted: variables are gone, files are not.',
        'stdout has 900 characters; all of it is in /tmp/all.txt in the sandbox.',
        'stderr has 800 characters; the rest was not kept.',
        "It is this session's default sandbox; it expires never.",
      ].join('\n'),
    );
  });

  test('that goes on says how to wait for it', async () => {
    const result = await run({
      execution: { ...execution, status: 'running', exit_code: null, stdout: '' },
      images: [],
    });
    expect(result.content).toMatchObject([
      { text: expect.stringContaining('Call execute_code with execution_id "exec_1"') },
    ]);
  });

  test.each([
    ['waited for', { execution_id: 'exec_1' }, [['wait', 'exec_1']]],
    // What models copy along from the run, and hosts fill in by themselves.
    [
      'waited for',
      { execution_id: 'exec_1', sandbox_id: 'sbx_1', language: 'bash', timeout_seconds: 60, cancel: false },
      [['wait', 'exec_1']],
    ],
    ['stopped', { execution_id: 'exec_1', cancel: true }, [['cancel', 'exec_1']]],
  ] as const)('is %s by %j', async (_says, args, told) => {
    const asked: unknown[] = [];
    const verb = (name: string) => async (executionId: string) => {
      asked.push([name, executionId]);
      return { execution, images: [] };
    };
    await withServer({ sandboxes: { wait: verb('wait'), cancel: verb('cancel') } }, ({ call }) =>
      call('execute_code', args),
    );
    expect(asked).toEqual(told);
  });
});

describe('a call in flight', () => {
  /** A verb that goes on until its signal aborts, and lets the test know when it began. */
  function lasting() {
    const { promise: begun, resolve: begin } = withResolvers<AbortSignal>();
    const list: Sandboxes['list'] = ({ signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new SandboxFailure('CANCELLED')));
        begin(signal);
      });
    return { begun, sandboxes: { list } };
  }

  test('is aborted when its caller cancels it', async () => {
    const { begun, sandboxes } = lasting();
    await withServer({ sandboxes }, async ({ call, inFlight }) => {
      const caller = new AbortController();
      const answer = call('list_sandboxes', {}, { signal: caller.signal }).catch(() => 'cancelled');
      const signal = await begun;
      expect([signal.aborted, inFlight()]).toEqual([false, 1]);
      caller.abort();
      expect(await answer).toBe('cancelled');
      await new Promise((resolve) => setImmediate(resolve));
      expect([signal.aborted, inFlight()]).toEqual([true, 0]);
    });
  });

  test('is aborted when the server stops, and answered', async () => {
    const { begun, sandboxes } = lasting();
    const stop = new AbortController();
    await withServer({ sandboxes, stopping: stop.signal }, async ({ call }) => {
      const answer = call('list_sandboxes');
      await begun;
      stop.abort();
      expect(await answer).toMatchObject({ structuredContent: { error: { code: 'CANCELLED' } } });
    });
  });

  test('has its budget, on the clock of the server', async () => {
    const deadlines: number[] = [];
    const list: Sandboxes['list'] = async ({ deadlineMs }) => {
      deadlines.push(deadlineMs);
      return [];
    };
    await withServer({ sandboxes: { list }, now: () => 7_000, callBudgetMs: 500 }, ({ call }) =>
      call('list_sandboxes'),
    );
    expect(deadlines).toEqual([7_500]);
  });

  test('tells what it has cost', async () => {
    let nowMs = 0;
    const list: Sandboxes['list'] = async ({ stats }) => {
      stats.attempts += 3;
      stats.queuedMs += 20.4;
      nowMs += 1_234;
      return [];
    };
    const result = await withServer({ sandboxes: { list }, now: () => nowMs }, ({ call }) =>
      call('list_sandboxes'),
    );
    expect(result.structuredContent?.['call']).toEqual({ attempts: 3, queued_ms: 20, elapsed_ms: 1_234 });
  });

  const messages = async (ask: boolean) => {
    let nowMs = 0;
    const list: Sandboxes['list'] = async ({ progress }) => {
      for (; nowMs < 1_000; nowMs += 100) progress(`waited ${nowMs} ms`);
      return [];
    };
    return withServer({ sandboxes: { list }, now: () => nowMs }, async ({ call, frames }) => {
      const heard: unknown[] = [];
      const onprogress = ({ message }: { message?: string | undefined }) => void heard.push(message);
      await call('list_sandboxes', {}, ask ? { onprogress } : {});
      return { heard, sent: JSON.stringify(frames).split('notifications/progress').length - 1 };
    });
  };

  test('tells its progress to a caller who asks, twice a second', async () => {
    expect(await messages(true)).toEqual({ heard: ['waited 0 ms', 'waited 500 ms'], sent: 2 });
  });

  test('tells no progress to a caller who does not', async () => {
    expect(await messages(false)).toEqual({ heard: [], sent: 0 });
  });
});

test('no secret leaves in any frame', async () => {
  const secret = 's3cret-value';
  const { redact } = createRedactor([secret]);
  const failure = new SandboxFailure('CONFLICT', {
    message: secret,
    // Cut in the middle of it.
    upstreamText: 'x'.repeat(193) + secret,
    requestId: secret,
    nextSteps: [{ tool: 'list_sandboxes', arguments: { deep: [secret] }, why: secret }],
  });
  const sandboxes: Partial<Sandboxes> = {
    list: async ({ progress }) => {
      progress(secret);
      return [{ ...sandbox, isolation: secret }];
    },
    execute: async () => ({ execution: { ...execution, stdout: secret }, images: [], sandbox, failure }),
  };
  const frames = await withServer({ sandboxes, redact }, async ({ call, frames: all }) => {
    await call('list_sandboxes', {}, { onprogress() {} });
    await call('execute_code', { code: '42' });
    return JSON.stringify(all);
  });
  expect(frames).toContain('[redacted]');
  expect(frames).not.toContain(secret.slice(0, 6));
});

function withResolvers<T>() {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
