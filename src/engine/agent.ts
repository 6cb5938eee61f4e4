import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import { SandboxFailure } from '../contract/failures.ts';
import type { executeRequest, writeFileRequest } from '../contract/hopx.ts';
import type { ControlPlane } from './control-plane.ts';
import { invalidRequest } from './engine-failure.ts';
import type { EnvVars } from './env-vars.ts';
import { toRunRequest } from './execution.ts';
import type { Launcher } from './sandbox/launcher.ts';
import type { RunRequest, RunResult } from './sandbox/local-sandbox.ts';

export type Agent = {
  /** Runs code to its end, or until the signal says that nobody waits for it any more. */
  execute(
    sandboxId: string,
    request: z.output<typeof executeRequest>,
    signal: AbortSignal,
  ): Promise<{ run: RunRequest; result: RunResult }>;
  env(sandboxId: string): EnvVars;
  /** Resolves with the number of bytes written. */
  writeFile(sandboxId: string, request: z.output<typeof writeFileRequest>): Promise<number>;
  readFile(sandboxId: string, path: string): Promise<Uint8Array>;
};

type AgentDeps = { controlPlane: Pick<ControlPlane, 'getLive'>; languages: Launcher['languages'] };

/** What HopX's VM agent does inside one sandbox, for all sandboxes of the engine. */
export function createAgent({ controlPlane, languages }: AgentDeps): Agent {
  return {
    async execute(id, request, signal) {
      const { info, env, sandbox } = controlPlane.getLive(id);
      const run = toRunRequest(request, { runId: randomUUID(), available: languages, sandboxEnv: env.all() });
      try {
        const result = await (await sandbox).run(run, { signal });
        return { run, result };
      } catch (cause) {
        if (info.status !== 'expired') throw cause;
        const message = 'The sandbox reached the end of its timeout during the run';
        throw new SandboxFailure('INTERNAL_ERROR', { message, cause });
      }
    },

    env: (id) => controlPlane.getLive(id).env,

    async writeFile(id, { path, content, encoding, mode, overwrite }) {
      const bytes = decode(content, encoding);
      const options = {
        ...(mode !== undefined && { mode: parseMode(mode) }),
        ...(overwrite !== undefined && { overwrite }),
      };
      await (await controlPlane.getLive(id).sandbox).writeFile(path, bytes, options);
      return bytes.byteLength;
    },

    async readFile(id, path) {
      return await (await controlPlane.getLive(id).sandbox).readFile(path);
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
