import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import { SandboxFailure } from '../contract/failures.ts';
import { type executeRequest, MAX_EXECUTE_SECONDS, type writeFileRequest } from '../contract/hopx.ts';
import type { Log } from '../log.ts';
import type { asyncRequest, backgroundRequest, commandRequest } from './agent-requests.ts';
import { sendCallback } from './callback.ts';
import type { Clock } from './clock.ts';
import type { ControlPlane } from './control-plane.ts';
import { invalidRequest } from './engine-failure.ts';
import type { EnvVars } from './env-vars.ts';
import { toExecuteReply, toRunRequest } from './execution.ts';
import type { Process } from './processes.ts';
import { asProcess, commandCode } from './program.ts';
import type { Launcher } from './sandbox/launcher.ts';
import type { LocalSandbox, RunOptions, RunRequest, RunResult } from './sandbox/local-sandbox.ts';
import type { LiveSandbox } from './sandbox-record.ts';

type Executed = { run: RunRequest; result: RunResult };

export type Agent = {
  /** Runs code to its end, or until the signal says that nobody waits for it any more. */
  execute(
    sandboxId: string,
    request: z.output<typeof executeRequest>,
    options: RunOptions,
  ): Promise<Executed>;
  runCommand(
    sandboxId: string,
    request: z.output<typeof commandRequest>,
    options: RunOptions,
  ): Promise<Executed>;
  startCode(sandboxId: string, request: z.output<typeof backgroundRequest>): Process;
  startCommand(sandboxId: string, request: z.output<typeof commandRequest>): Process;
  /** Starts code whose result goes to a URL. */
  startAsync(sandboxId: string, request: z.output<typeof asyncRequest>): Process;
  env(sandboxId: string): EnvVars;
  /** The sandbox to work in; throws as the control plane's `getRunning`. */
  live(sandboxId: string): LiveSandbox;
  /** The same for its files, terminals and processes. */
  sandbox(sandboxId: string): Promise<LocalSandbox>;
  /** Resolves with the number of bytes written. */
  writeFile(sandboxId: string, request: z.output<typeof writeFileRequest>): Promise<number>;
};

type AgentDeps = {
  controlPlane: Pick<ControlPlane, 'getRunning'>;
  languages: Launcher['languages'];
  clock: Pick<Clock, 'now'>;
  log: Log;
};

/** Default and maximum of `timeout` in seconds, as HopX's docs have them; a day for what nobody waits for. */
const seconds = {
  execute: { default: 60, max: MAX_EXECUTE_SECONDS },
  command: { default: 30, max: MAX_EXECUTE_SECONDS },
  background: { default: 300, max: 86_400 },
  async: { default: 3600, max: 86_400 },
} as const;

/** What HopX's VM agent does inside one sandbox, for all sandboxes of the engine. */
export function createAgent({ controlPlane, languages, clock, log }: AgentDeps): Agent {
  const live = (id: string) => controlPlane.getRunning(id);

  function prepare(
    { env }: LiveSandbox,
    request: z.output<typeof executeRequest>,
    timeout: { default: number; max: number },
  ): RunRequest {
    return toRunRequest(request, {
      runId: randomUUID(),
      available: languages,
      sandboxEnv: env.all(),
      timeout,
    });
  }

  async function run(entry: LiveSandbox, request: RunRequest, options: RunOptions): Promise<RunResult> {
    const ended = entry.metrics.began();
    try {
      return await (await entry.sandbox).run(request, options);
    } catch (cause) {
      if (entry.info.status !== 'expired') throw cause;
      const message = 'The sandbox reached the end of its timeout during the run';
      throw new SandboxFailure('INTERNAL_ERROR', { message, cause });
    } finally {
      ended();
    }
  }

  const asCode = ({ command, args, ...rest }: z.output<typeof commandRequest>) => ({
    ...rest,
    language: 'bash',
    code: commandCode(command, args),
  });

  return {
    async execute(id, request, options) {
      const entry = live(id);
      const prepared = prepare(entry, request, seconds.execute);
      return { run: prepared, result: await run(entry, prepared, options) };
    },

    async runCommand(id, request, options) {
      const entry = live(id);
      const prepared = prepare(entry, asCode(request), seconds.command);
      return { run: prepared, result: await run(entry, prepared, options) };
    },

    startCode(id, request) {
      const entry = live(id);
      const prepared = prepare(entry, request, seconds.background);
      const { language } = prepared;
      return entry.processes.start(asProcess(prepared), { prefix: 'proc', name: request.name, language });
    },

    startCommand(id, request) {
      const entry = live(id);
      const prepared = prepare(entry, asCode(request), seconds.background);
      const name = request.name ?? [request.command, ...(request.args ?? [])].join(' ').slice(0, 200);
      return entry.processes.start(prepared, { prefix: 'cmd', name, language: 'bash' });
    },

    startAsync(id, request) {
      const entry = live(id);
      const prepared = prepare(entry, request, seconds.async);
      const { language } = prepared;
      const process = entry.processes.start(asProcess(prepared), {
        prefix: 'exec',
        name: request.name,
        language,
      });
      const callback = {
        url: request.callback_url,
        headers: request.callback_headers ?? {},
        secret: request.callback_signature_secret,
      };
      const tell = (outcome: Readonly<Record<string, unknown>>) =>
        sendCallback(callback, { execution_id: process.id, ...outcome }, { now: clock.now, log });
      void process.ended.then(
        (result) => {
          const { endedBy, exitCode } = result;
          const status = endedBy === 'timeout' ? 'timeout' : exitCode === 0 ? 'completed' : 'failed';
          return tell({ ...toExecuteReply(prepared, result, clock.now()), status });
        },
        (error: unknown) => {
          const timestamp = new Date(clock.now()).toISOString();
          const text = error instanceof SandboxFailure ? error.message : 'Internal server error';
          return tell({ status: 'failed', success: false, error: text, timestamp });
        },
      );
      return process;
    },

    env: (id) => live(id).env,
    live,
    sandbox: async (id) => live(id).sandbox,

    async writeFile(id, { path, content, encoding, mode, overwrite }) {
      const bytes = decode(content, encoding);
      const options = {
        ...(mode !== undefined && { mode: parseMode(mode) }),
        ...(overwrite !== undefined && { overwrite }),
      };
      await (await live(id).sandbox).writeFile(path, bytes, options);
      return bytes.byteLength;
    },
  };
}

function decode(content: string, encoding: string | undefined): Buffer {
  if (encoding === undefined) return Buffer.from(content);
  if (encoding !== 'base64') throw invalidRequest("field 'encoding': must be 'base64', or left out for text");
  const compact = content.replace(/\s/g, '');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(compact)) throw invalidRequest("field 'content': not valid base64");
  return Buffer.from(compact, 'base64');
}

function parseMode(mode: string): number {
  if (!/^[0-7]{3,4}$/.test(mode)) throw invalidRequest("field 'mode': must be octal digits such as '0644'");
  return Number.parseInt(mode, 8);
}
