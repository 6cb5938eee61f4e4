import type { Call } from '../contract/call.ts';
import {
  type ExecuteReply,
  type ExecuteRequest,
  executeReply,
  outputEvent,
  WORKDIR,
} from '../contract/hopx.ts';
import type { Perform } from './perform.ts';
import { parseReply } from './reply-schema.ts';

/** Hears a run's output as it comes, where the API streams. */
type OnOutput = (stream: 'stdout' | 'stderr', text: string) => void;

/** A run as the API told it; status and request id are what HopX support asks for. */
export type Ran = { reply: ExecuteReply; httpStatus: number; requestId?: string };

/** What to write, as text or as the base64 of bytes. */
type WriteFile = { path: string } & ({ content: string } | { base64: string });

/** `POST /commands/background` in the form of both SDKs, a program and its arguments: not every agent splits a line. */
type StartCommand = Omit<ExecuteRequest, 'code' | 'language'> & {
  command: string;
  args: readonly string[];
  name: string;
};

/** What can be done inside one sandbox. */
export type AgentClient = {
  /** A finished run, whatever its exit code. The run is given up when `call.signal` aborts. */
  execute(sandboxId: string, request: ExecuteRequest, call: Call, onOutput?: OnOutput): Promise<Ran>;
  writeFile(sandboxId: string, file: WriteFile, call: Call): Promise<void>;
  readFile(sandboxId: string, path: string, call: Call): Promise<Buffer>;
  /** Starts a program that nobody waits for; at most once. */
  startCommand(sandboxId: string, command: StartCommand, call: Call): Promise<void>;
  /** Runs a short command of our own in Bash, in the working directory; at most once, whatever its exit code. */
  runCommand(sandboxId: string, command: string, call: Call): Promise<{ stdout: string }>;
};

/** Commands of our own list or read files, or stop a process: what takes longer is stuck. */
const COMMAND_SECONDS = 10;

/**
 * How the agent lets a run's output be heard: the engine in the reply to `/execute`; HopX over a WebSocket, which
 * carries text alone, so that Python, with its results and figures, is not run that way.
 */
export type Streaming = 'reply' | 'socket';

/** The operations on a sandbox's agent, each through `perform`. */
export function createAgentClient(perform: Perform, streaming: Streaming): AgentClient {
  return {
    async execute(sandboxId, request, call, onOutput) {
      const overSocket = streaming === 'socket' && call.isHeard === true && request.language !== 'python';
      const result = await perform(
        'execute',
        {
          sandboxId,
          overSocket,
          body: overSocket ? { type: 'execute', ...request } : request,
          runMs: (request.timeout ?? 0) * 1000,
          ...(onOutput !== undefined && { onEvent: (event: unknown) => passOn(event, onOutput) }),
        },
        call,
      );
      const { status: httpStatus, requestId } = result;
      const reply = parseReply(executeReply, result, 'performed');
      return { reply, httpStatus, ...(requestId !== undefined && { requestId }) };
    },
    async writeFile(sandboxId, { path, ...written }, call) {
      const content = 'base64' in written ? { content: written.base64, encoding: 'base64' } : written;
      await perform('writeFile', { sandboxId, body: { path, ...content, overwrite: true } }, call);
    },
    async readFile(sandboxId, path, call) {
      const { body } = await perform(
        'downloadFile',
        { sandboxId, query: { path }, isReply: Buffer.isBuffer },
        call,
      );
      return Buffer.isBuffer(body) ? body : Buffer.alloc(0);
    },
    async startCommand(sandboxId, command, call) {
      await perform('startCommand', { sandboxId, body: command }, call);
    },
    async runCommand(sandboxId, command, call) {
      const body = { command: 'bash', args: ['-c', command], timeout: COMMAND_SECONDS, workdir: WORKDIR };
      const { stdout } = parseReply(executeReply, await perform('runCommand', { sandboxId, body }, call));
      return { stdout: stdout ?? '' };
    },
  };
}

function passOn(event: unknown, onOutput: OnOutput): void {
  const output = outputEvent.safeParse(event).data;
  if (output !== undefined) onOutput(output.type, output.data);
}
