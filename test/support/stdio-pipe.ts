import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { builtServer, untilMs } from './built-server.ts';
import { createFrameChecker } from './mcp-schema.ts';

const frameShape = z.looseObject({
  id: z.union([z.string(), z.number()]).optional(),
  method: z.string().optional(),
  result: z.looseObject({}).optional(),
  error: z.looseObject({ code: z.number(), message: z.string() }).optional(),
});
export type Frame = z.output<typeof frameShape>;

export type StdioPipe = {
  child: ChildProcessWithoutNullStreams;
  stderr(): string;
  /** Frames of the server, in their order. */
  frames: readonly Frame[];
  /** Writes bytes as they are. */
  write(text: string): void;
  /** Writes a valid request; resolves to its answer. */
  ask(method: string, params?: object, id?: string | number): Promise<Frame>;
  callTool(name: string, args: object): Promise<Frame>;
  /** An empty frame when the server left without an answer. */
  answerTo(id: string | number): Promise<Frame>;
  exited: Promise<number | null>;
  /** Leaves as a host does; throws when the server ever said anything but valid frames, or warned. */
  close(): Promise<void>;
};

/** Starts the built server with bare pipes, for what no client library would send. */
export async function openStdioPipe({
  env = {},
  protocolVersion = '2025-11-25',
}: {
  env?: Readonly<Record<string, string>>;
  protocolVersion?: string | undefined;
} = {}): Promise<StdioPipe> {
  const child = spawn(builtServer.command, builtServer.args, { env: { ...builtServer.env, ...env } });
  let isGone = false;
  const exited = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      isGone = true;
      resolve(code);
    });
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  // It may be gone before all is written to it.
  child.stdin.on('error', () => {});
  const checker = createFrameChecker();
  const { problems } = checker;
  const frames: Frame[] = [];
  const answers = new Map<string | number, Frame>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const frame = parse(line);
    if (frame === undefined) {
      problems.push(`no frame on stdout: ${line.slice(0, 200)}`);
      return;
    }
    frames.push(frame);
    checker.check('server', frame);
    if (frame.id !== undefined && frame.method === undefined) answers.set(frame.id, frame);
  });

  const write = (text: string) => void child.stdin.write(text);
  const answerTo = async (id: string | number): Promise<Frame> => {
    await untilMs(() => answers.has(id) || isGone);
    return answers.get(id) ?? {};
  };
  let lastId = 0;
  const nextId = () => {
    lastId += 1;
    return lastId;
  };
  const ask: StdioPipe['ask'] = (method, params = {}, id = nextId()) => {
    const request = { jsonrpc: '2.0', id, method, params };
    checker.check('client', request);
    write(`${JSON.stringify(request)}\n`);
    return answerTo(id);
  };
  const clientInfo = { name: 'pipe', version: '1' };
  await ask('initialize', { protocolVersion, capabilities: {}, clientInfo });
  write(`${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' })}\n`);
  return {
    child,
    stderr: () => stderr,
    frames,
    write,
    ask,
    answerTo,
    callTool: (name, args) => ask('tools/call', { name, arguments: args }),
    exited,
    async close() {
      child.stdout.resume();
      child.stdin.end();
      await exited;
      if (/Warning|uncaught|unhandled/.test(stderr)) problems.push(stderr);
      if (problems.length > 0) throw new Error(problems.join('\n'));
    },
  };
}

function parse(line: string): Frame | undefined {
  try {
    return frameShape.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
