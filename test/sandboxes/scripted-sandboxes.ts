import type { Ran } from '../../src/client/agent-client.ts';
import type { HopxClient } from '../../src/client/hopx-client.ts';
import { type FailureCode, SandboxFailure } from '../../src/contract/failures.ts';
import type { CreateRequest, ExecuteRequest } from '../../src/contract/hopx.ts';
import { silentLog } from '../../src/log.ts';
import type { ExecuteInput } from '../../src/sandboxes/executions.ts';
import { createSandboxes } from '../../src/sandboxes/sandboxes.ts';

export type Script = {
  /** Waited for before a creation succeeds; what it throws is the creation's failure. */
  creating?: (nth: number) => Promise<void>;
  /** What a run prints before it ends. */
  printing?: string;
  /** What a reply says beside success. */
  running?: (sandboxId: string, request: ExecuteRequest, signal: AbortSignal) => Promise<Partial<Ran>>;
  deleting?: (sandboxId: string) => Promise<{ alreadyGone: boolean }>;
  writing?: (path: string) => Promise<void>;
  /** What a file holds; it throws what reading fails with. */
  reading?: (path: string) => string | Uint8Array;
  /** What `find` prints. */
  finding?: string;
  keepOnExit?: boolean;
  outputLimitChars?: number;
  now?: () => number;
};

/** Sandboxes over a client that does what the script says; the sandboxes are called s1, s2, … */
export function scriptedSandboxes(script: Script = {}) {
  const created: CreateRequest[] = [];
  const ran: [sandboxId: string, request: ExecuteRequest][] = [];
  const deleted: string[] = [];
  const written: [path: string, chars: number][] = [];
  const commands: string[] = [];
  let connections = 0;
  let isClosed = false;
  const client: HopxClient = {
    async createSandbox(request) {
      const nth = created.push(request);
      await script.creating?.(nth);
      return { id: `s${nth}`, status: 'running', created_at: '2030-01-01T00:00:00Z' };
    },
    async execute(sandboxId, request, { signal }, onOutput) {
      ran.push([sandboxId, request]);
      if (script.printing !== undefined) onOutput?.('stdout', script.printing);
      const told = await script.running?.(sandboxId, request, signal);
      return { reply: { success: true, exit_code: 0, stdout: 'out' }, httpStatus: 200, ...told };
    },
    async deleteSandbox(sandboxId) {
      deleted.push(sandboxId);
      return (await script.deleting?.(sandboxId)) ?? { alreadyGone: false };
    },
    async writeFile(_sandboxId, file) {
      await script.writing?.(file.path);
      written.push([file.path, ('base64' in file ? file.base64 : file.content).length]);
    },
    readFile: async (_sandboxId, path) => Buffer.from(script.reading?.(path) ?? ''),
    startCommand: async (_sandboxId, { args }) => void commands.push(args.join(' ')),
    runCommand: async () => ({ stdout: script.finding ?? '' }),
    listSandboxes: async () => [{ id: 'other', status: 'paused', template_id: 7, internet_access: false }],
    sweep: async () => 0,
    close: async () => {
      isClosed = true;
    },
  };
  const sandboxes = createSandboxes({
    connect: async () => {
      connections += 1;
      return client;
    },
    backend: 'hopx',
    ttlSeconds: 1_800,
    keepOnExit: script.keepOnExit ?? false,
    outputLimitChars: script.outputLimitChars ?? 1_000,
    log: silentLog,
    ...(script.now !== undefined && { now: script.now }),
  });
  return {
    sandboxes,
    created,
    ran,
    deleted,
    written,
    commands,
    isClosed: () => isClosed,
    connections: () => connections,
  };
}

export const code: ExecuteInput = { code: '1', language: 'python', timeoutSeconds: 60 };
export const failing = (failureCode: FailureCode) => () => Promise.reject(new SandboxFailure(failureCode));
/** The outcome, or what was thrown. */
export const settled = <T>(promise: Promise<T>) => promise.catch((error: unknown) => error);
