import type { HopxClient, Ran } from '../../src/client/hopx-client.ts';
import { type FailureCode, SandboxFailure } from '../../src/contract/failures.ts';
import type { CreateRequest, ExecuteRequest } from '../../src/contract/hopx.ts';
import { silentLog } from '../../src/log.ts';
import type { ExecuteInput } from '../../src/sandboxes/executions.ts';
import { createSandboxes } from '../../src/sandboxes/sandboxes.ts';

export type Script = {
  /** Waited for before a creation succeeds; what it throws is the creation's failure. */
  creating?: (nth: number) => Promise<void>;
  /** What a reply says beside success. */
  running?: (sandboxId: string, request: ExecuteRequest, signal: AbortSignal) => Promise<Partial<Ran>>;
  deleting?: (sandboxId: string) => Promise<{ alreadyGone: boolean }>;
  writing?: (path: string) => Promise<void>;
  keepOnExit?: boolean;
  now?: () => number;
};

/** Sandboxes over a client that does what the script says; the sandboxes are called s1, s2, … */
export function scriptedSandboxes(script: Script = {}) {
  const created: CreateRequest[] = [];
  const ran: [sandboxId: string, request: ExecuteRequest][] = [];
  const deleted: string[] = [];
  const written: [path: string, chars: number][] = [];
  let connections = 0;
  let isClosed = false;
  const client: HopxClient = {
    async createSandbox(request) {
      const nth = created.push(request);
      await script.creating?.(nth);
      return { id: `s${nth}`, status: 'running', created_at: '2030-01-01T00:00:00Z' };
    },
    async execute(sandboxId, request, { signal }) {
      ran.push([sandboxId, request]);
      const told = await script.running?.(sandboxId, request, signal);
      return { reply: { success: true, exit_code: 0, stdout: 'out' }, httpStatus: 200, ...told };
    },
    async deleteSandbox(sandboxId) {
      deleted.push(sandboxId);
      return (await script.deleting?.(sandboxId)) ?? { alreadyGone: false };
    },
    async writeFile(_sandboxId, path, content) {
      await script.writing?.(path);
      written.push([path, content.length]);
    },
    getSandbox: () => Promise.reject(new Error('nobody asks for one')),
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
    outputLimitChars: 1_000,
    log: silentLog,
    ...(script.now !== undefined && { now: script.now }),
  });
  return {
    sandboxes,
    created,
    ran,
    deleted,
    written,
    isClosed: () => isClosed,
    connections: () => connections,
  };
}

export const code: ExecuteInput = { code: '1', language: 'python', timeoutSeconds: 60 };
export const failing = (failureCode: FailureCode) => () => Promise.reject(new SandboxFailure(failureCode));
/** The outcome, or what was thrown. */
export const settled = <T>(promise: Promise<T>) => promise.catch((error: unknown) => error);
