import { randomUUID } from 'node:crypto';
import type { HopxClient } from '../client/hopx-client.ts';
import type { Call } from '../contract/call.ts';
import { type FailureFacts, SandboxFailure } from '../contract/failures.ts';
import { type ExecuteRequest, WORKDIR } from '../contract/hopx.ts';
import type { Execution, Image, Language, Sandbox } from '../contract/results.ts';
import { bareExecution, failureOf, type Program, readExecution } from './execution.ts';
import { createRuns } from './runs.ts';

export type ExecuteInput = {
  code: string;
  language: Language;
  sandboxId?: string | undefined;
  timeoutSeconds: number;
  env?: Readonly<Record<string, string>> | undefined;
  workdir?: string | undefined;
};

export type Executed = {
  execution: Execution;
  images: readonly Image[];
  /** The default sandbox, when the run was in it. */
  sandbox?: Sandbox;
  /** What the program came to, when it came to no good. */
  failure?: SandboxFailure;
};

/** Where a run goes; `sandbox` is given back with its result. */
export type Place = { sandboxId: string; sandbox?: Sandbox };

export type Executions = {
  /** Starts a run and answers with its end, or with `running` when the call's time is up first. */
  start(input: ExecuteInput, place: Place, call: Call): Promise<Executed>;
  resume(executionId: string, cancel: boolean, call: Call): Promise<Executed>;
  cancelAll(): void;
};

type ExecutionsOptions = {
  client(): Promise<HopxClient>;
  outputLimitChars: number;
  now: () => number;
  /** Notes that a sandbox is in use and tells the environment it was created with. */
  use(sandboxId: string): Readonly<Record<string, string>>;
  /** Told when the API says that a sandbox does not exist. */
  gone(sandboxId: string): void;
};

/** Keeping the whole of a long output is worth this much of the caller's time. */
const KEEP_MS = 8_000;

/** Runs of code: each is sent once, and outlives the call that started it. */
export function createExecutions({
  client,
  outputLimitChars,
  now,
  use,
  gone,
}: ExecutionsOptions): Executions {
  const runs = createRuns<Executed, { program: Program; sandbox: Sandbox | undefined }>({ now });

  const concluded = (executed: Executed, program: Program, wire: FailureFacts): Executed => {
    const failure = failureOf(executed.execution, program.timeoutSeconds);
    return failure === undefined ? executed : { ...executed, failure: failure.with(wire) };
  };

  const run = async (input: ExecuteInput, program: Program, call: Call): Promise<Executed> => {
    const { sandboxId } = program;
    const api = await client();
    const env = { ...use(sandboxId), ...input.env };
    const request: ExecuteRequest = {
      code: input.code,
      language: input.language,
      timeout: input.timeoutSeconds,
      workdir: input.workdir ?? WORKDIR,
      ...(Object.keys(env).length > 0 && { env }),
    };
    const keep = (name: string, content: string) => {
      const path = `/tmp/hopx-output/${name}`;
      const kept = api.writeFile(sandboxId, path, content, { ...call, deadlineMs: now() + KEEP_MS });
      return kept.then(
        () => path,
        () => undefined,
      );
    };
    const { reply, httpStatus, requestId } = await api.execute(sandboxId, request, call);
    const wire = { endpoint: 'POST /execute', httpStatus, ...(requestId !== undefined && { requestId }) };
    const told = httpStatus === 408 ? { ...reply, code: 'EXECUTION_TIMEOUT' } : reply;
    return concluded(await readExecution(program, told, outputLimitChars, keep), program, wire);
  };

  const afterFailure = (error: unknown, program: Program, seconds: number): Executed => {
    if (!(error instanceof SandboxFailure)) throw error;
    switch (error.code) {
      case 'EXECUTION_TIMEOUT':
      case 'CODE_EXECUTION_ERROR': {
        const status = error.code === 'EXECUTION_TIMEOUT' ? 'timed_out' : 'failed';
        const execution = bareExecution(program, status, seconds);
        return concluded({ execution, images: [] }, program, error.facts);
      }
      case 'CANCELLED':
        return { execution: bareExecution(program, 'cancelled', seconds), images: [] };
      case 'RESOURCE_NOT_FOUND':
      case 'SANDBOX_EXPIRED':
        gone(program.sandboxId);
        break;
    }
    throw error.with({ sandboxId: program.sandboxId });
  };

  const answer = async (executionId: string, call: Call): Promise<Executed> => {
    const { about, elapsedMs, outcome } = await runs.wait(executionId, call);
    const withSandbox = about.sandbox === undefined ? {} : { sandbox: about.sandbox };
    if (outcome !== undefined) return { ...outcome, ...withSandbox };
    return {
      execution: bareExecution(about.program, 'running', elapsedMs / 1000),
      images: [],
      ...withSandbox,
    };
  };

  return {
    start(input, { sandboxId, sandbox }, call) {
      const executionId = `exec_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
      const { language, timeoutSeconds } = input;
      const program = { executionId, sandboxId, language, timeoutSeconds };
      const startedMs = now();
      runs.start(executionId, { program, sandbox }, (signal) =>
        run(input, program, { ...call, signal }).catch((error: unknown) =>
          afterFailure(error, program, (now() - startedMs) / 1000),
        ),
      );
      return answer(executionId, call);
    },
    async resume(executionId, cancel, call) {
      if (cancel) runs.cancel(executionId);
      return answer(executionId, call);
    },
    cancelAll: runs.cancelAll,
  };
}
