import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { newMark, processesWith, untilMs } from './support/built-server.ts';
import { type Frame, openStdioPipe, type StdioPipe } from './support/stdio-pipe.ts';

async function open(options: Parameters<typeof openStdioPipe>[0] = {}): Promise<StdioPipe> {
  const pipe = await openStdioPipe(options);
  onTestFinished(pipe.close);
  return pipe;
}

const ping = (id: unknown, more: object = {}) =>
  JSON.stringify({ jsonrpc: '2.0', id, method: 'ping', ...more });
const structured = ({ result }: Frame) => result?.['structuredContent'];
const errorCode = (code: string) => ({ error: expect.objectContaining({ code }) });
/** A child that stays in the sandbox, in the background of a finished run. */
const linger = (mark: string) => ({ language: 'bash', code: `sleep ${mark} & echo lingering` });

describe('a server', () => {
  let pipe: StdioPipe;
  beforeAll(async () => {
    pipe = await openStdioPipe();
  });
  afterAll(() => pipe.close());

  test.each([
    ['no JSON', 'not json'],
    ['half a frame', '{"jsonrpc":"2.0","id":7,"method":'],
    ['nothing', ''],
    ['a number', '1'],
    ['null', 'null'],
    ['an empty object', '{}'],
    ['a batch, which 2025-11-25 does not have', `[${ping(7)},${ping(8)}]`],
    ['another version of JSON-RPC', ping(7, { jsonrpc: '1.0' })],
    ['an id that is null', ping(null)],
    ['an id that is an object', ping({})],
    ['an id that is a fraction', ping(1.5)],
    ['params that are a list', ping(7, { params: [1] })],
    ['a method that is no text', ping(7, { method: 7 })],
    ['an answer to nothing', '{"jsonrpc":"2.0","id":99,"result":{}}'],
    ['an unknown notification', '{"jsonrpc":"2.0","method":"notifications/unheard"}'],
    [
      'a cancellation of nothing',
      '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}',
    ],
    ['bytes that are no text', '\uFFFD\u0000\u0001'],
  ])('leaves a line unanswered that is %s, and serves the next', async (_says, line) => {
    const heard = pipe.frames.length;
    pipe.write(`${line}\n`);
    expect((await pipe.ask('ping')).result).toEqual({});
    expect(pipe.frames).toHaveLength(heard + 1);
  });

  test.each([
    ['a method that does not exist', 'tools/shout', {}, -32601],
    ['the discovery of a later protocol', 'server/discover', {}, -32601],
    ['a tool that does not exist', 'tools/call', { name: 'nope' }, -32602],
    ['a call without a tool', 'tools/call', {}, -32603],
  ])('refuses %s with the code of the protocol', async (says, method, params, code) => {
    pipe.write(`${JSON.stringify({ jsonrpc: '2.0', id: says, method, params })}\n`);
    expect((await pipe.answerTo(says)).error).toMatchObject({ code });
  });

  test('gives an id back as it was: text, zero, negative, large', async () => {
    for (const id of ['', 'a b', '1', 0, -1, 2 ** 53 - 1]) {
      expect(await pipe.ask('ping', {}, id)).toEqual({ jsonrpc: '2.0', id, result: {} });
    }
  });
});

test.each([
  ['2025-11-25', '2025-11-25'],
  ['2025-06-18', '2025-06-18'],
  ['2025-03-26', '2025-03-26'],
  ['2024-11-05', '2024-11-05'],
  ['2026-07-28', '2025-11-25'],
  ['1999-01-01', '2025-11-25'],
])('who asks for protocol %s is answered in %s', async (protocolVersion, answered) => {
  const { frames, ask } = await open({ protocolVersion });
  expect(frames[0]?.result).toMatchObject({ protocolVersion: answered });
  expect((await ask('tools/list')).result?.['tools']).toHaveLength(4);
});

describe('a frame that is large', () => {
  test('of 9 MB is answered with what may be sent', async () => {
    const { callTool } = await open();
    const answer = await callTool('execute_code', { code: '#'.repeat(9_000_000) });
    expect(structured(answer)).toMatchObject({
      error: { code: 'INVALID_ARGUMENTS', message: expect.stringMatching(/code: .*1000000/) },
    });
    expect(JSON.stringify(answer).length).toBeLessThan(5_000);
  });

  test('of more than 10 MB ends the server in good order', async () => {
    const { callTool, write, exited } = await open();
    const mark = newMark();
    await callTool('execute_code', linger(mark));
    write('#'.repeat(11_000_000));
    expect(await exited).toBe(0);
    expect(processesWith(mark)).toEqual([]);
  });
});

describe('many calls at once', () => {
  test('1,000 runs are all answered, each with its own output or with a failure that says when to come again', async () => {
    const { callTool } = await open();
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, index) =>
        callTool('execute_code', { code: `print("own", ${index})` }),
      ),
    );
    const ran = answers.filter((answer, index) => {
      const content = structured(answer);
      const isRun = JSON.stringify(content).includes(`"stdout":"own ${index}\\n"`);
      if (!isRun) expect(content).toMatchObject({ error: { code: 'QUEUE_FULL', retryable: true } });
      return isRun;
    });
    expect(ran.length).toBeGreaterThan(900);
  });

  test('3,000 that need no sandbox are answered as well', async () => {
    const { callTool } = await open();
    const answers = await Promise.all(
      Array.from({ length: 3_000 }, () => callTool('execute_code', { cod: '1' })),
    );
    for (const answer of answers) expect(structured(answer)).toMatchObject(errorCode('INVALID_ARGUMENTS'));
  });
});

describe('a reader', () => {
  test('that is slow gets everything in the end', async () => {
    const { ask, child, frames } = await open();
    child.stdout.pause();
    const answers = Array.from({ length: 500 }, () => ask('tools/list'));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const heard = frames.length;
    child.stdout.resume();
    expect(heard).toBeLessThan(100);
    expect((await Promise.all(answers)).every(({ result }) => result !== undefined)).toBe(true);
  });

  test('that vanished in the middle of a run ends server and run', async () => {
    const { callTool, child, exited } = await open();
    const mark = newMark();
    void callTool('execute_code', { language: 'bash', code: `sleep ${mark}` });
    await untilMs(() => processesWith(mark).length > 0);
    child.stdout.destroy();
    void callTool('list_sandboxes', {});
    expect(await exited).toBe(0);
    expect(processesWith(mark)).toEqual([]);
  });
});

test('after SIGKILL the next server works, and nothing of the first is left', async () => {
  const first = await open();
  const mark = newMark();
  await first.callTool('execute_code', linger(mark));
  first.child.kill('SIGKILL');
  const second = await open();
  expect(structured(await second.callTool('execute_code', { code: '6 * 7' }))).toMatchObject({
    execution: { result: '42' },
  });
  await untilMs(() => processesWith(mark).length === 0);
});

test('two servers at once keep out of each other', async () => {
  const answers = await Promise.all(
    ['one', 'two'].map(async (name) => {
      const { callTool } = await open();
      await callTool('execute_code', { code: `open("name", "w").write("${name}")` });
      const [read, listed] = [
        await callTool('execute_code', { code: 'open("name").read()' }),
        await callTool('list_sandboxes', {}),
      ];
      return { read: structured(read), listed: structured(listed) };
    }),
  );
  for (const [index, name] of ["'one'", "'two'"].entries()) {
    expect(answers[index]?.read).toMatchObject({ execution: { result: name } });
    expect(answers[index]?.listed).toMatchObject({ sandboxes: [{ status: 'running' }] });
  }
});
