import { randomUUID } from 'node:crypto';
import type { HopxClient } from '../client/hopx-client.ts';
import type { Call } from '../contract/call.ts';
import { type FailureFacts, SandboxFailure } from '../contract/failures.ts';
import { type ExecuteReply, type ExecuteRequest, MAX_EXECUTE_SECONDS, WORKDIR } from '../contract/hopx.ts';
import type { Execution, ExecutionStatus, Image, Language, Sandbox } from '../contract/results.ts';
import { detachedFolder, runDetached } from './detached.ts';
import {
  bareExecution,
  failureOf,
  type KeepOutput,
  type Program,
  readExecution,
  shareOut,
} from './execution.ts';
import { createLiveOutput, type LiveOutput } from './live-output.ts';
import { createRuns } from './runs.ts';
import { findArtifacts, type InputFile, readOutputs, toArtifact, writeInputs } from './workspace-files.ts';

/** One program and all that goes in and out with it. */
export type ExecuteInput = {
  code: string;
  language: Language;
  sandboxId?: string | undefined;
  timeoutSeconds: number;
  env?: Readonly<Record<string, string>> | undefined;
  workdir?: string | undefined;
  /** Written before the run. */
  files?: readonly InputFile[] | undefined;
  /** Read back after the run. */
  readPaths?: readonly string[] | undefined;
};

/** A run as its caller gets it, ended or still going. */
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

/** The runs of one session. */
export type Executions = {
  /** Starts a run and answers with its end, or with `running` when the call's time is up first. */
  start(input: ExecuteInput, place: Place, call: Call): Promise<Executed>;
  /** Waits on for a run that was still going; throws `INVALID_ARGUMENTS` for an id that is not known. */
  wait(executionId: string, call: Call): Promise<Executed>;
  /** Stops a run and answers with its end, as `wait` does. */
  cancel(executionId: string, call: Call): Promise<Executed>;
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

type Started = { program: Program; sandbox: Sandbox | undefined; live: LiveOutput };

/** Keeping long output and reading files back is worth this much of the caller's time. */
const AFTER_MS = 8_000;

/** Runs of code: each is sent once, and outlives the call that started it. */
export function createExecutions({
  client,
  outputLimitChars,
  now,
  use,
  gone,
}: ExecutionsOptions): Executions {
  const runs = createRuns<Executed, Started>({
    now,
    describe({ live }, elapsedMs) {
      const line = live.lastLine();
      return `running for ${Math.round(elapsedMs / 1000)} s${line === '' ? '' : `: ${line}`}`;
    },
  });

  const concluded = (executed: Executed, program: Program, wire: FailureFacts): Executed => {
    const failure = failureOf(executed.execution, program.timeoutSeconds);
    return failure === undefined ? executed : { ...executed, failure: failure.with(wire) };
  };

  const run = async (
    input: ExecuteInput,
    program: Program,
    live: LiveOutput,
    call: Call,
  ): Promise<Executed> => {
    const { sandboxId } = program;
    const api = await client();
    const env = { ...use(sandboxId), ...input.env };
    if (input.files !== undefined) await writeInputs(api, sandboxId, input.files, call);
    const startedMs = now();
    const request: ExecuteRequest = {
      code: input.code,
      language: input.language,
      timeout: input.timeoutSeconds,
      workdir: input.workdir ?? WORKDIR,
      ...(Object.keys(env).length > 0 && { env }),
    };
    const { reply, httpStatus, requestId } = isDetached(program)
      ? await runDetached({ client: api, program, request, live, outputLimitChars, call, now })
      : await api.execute(sandboxId, request, call, live.add);
    const wire = { endpoint: 'POST /execute', httpStatus, ...(requestId !== undefined && { requestId }) };
    const told = httpStatus === 408 ? { ...reply, code: 'EXECUTION_TIMEOUT' } : reply;
    // What comes after the run must not take the time that its queue was given.
    const after = { ...call, deadlineMs: now() + AFTER_MS };
    const keep: KeepOutput = (name, content) => {
      const path = `/tmp/hopx-output/${name}`;
      return api.writeFile(sandboxId, { path, ...content }, after).then(
        () => path,
        () => undefined,
      );
    };
    const read = await readExecution(program, told, outputLimitChars, keep);
    const files = await collectFiles(api, input, reply, (now() - startedMs) / 1000, sandboxId, after);
    const images = [...read.images, ...files.images];
    const pictures = { count: images.length, media_types: images.map(({ mediaType }) => mediaType) };
    const listed = [...(read.execution.files ?? []), ...files.files];
    const execution = {
      ...read.execution,
      ...(files.artifacts.length > 0 && { artifacts: files.artifacts }),
      ...(listed.length > 0 && { files: listed }),
      ...(images.length > 0 && { images: pictures }),
    };
    return concluded({ execution, images }, program, wire);
  };

  const afterFailure = (error: unknown, { program, live }: Started, seconds: number): Executed => {
    if (!(error instanceof SandboxFailure)) throw error;
    const folder = isDetached(program) ? detachedFolder(program.executionId) : undefined;
    const soFar = (status: ExecutionStatus) =>
      withOutput(bareExecution(program, status, seconds), live, outputLimitChars, folder);
    switch (error.code) {
      case 'EXECUTION_TIMEOUT':
        return concluded({ execution: soFar('timed_out'), images: [] }, program, error.facts);
      case 'CODE_EXECUTION_ERROR':
        return concluded({ execution: soFar('failed'), images: [] }, program, error.facts);
      case 'CANCELLED':
        return { execution: soFar('cancelled'), images: [] };
      case 'RESOURCE_NOT_FOUND':
      case 'SANDBOX_EXPIRED':
        gone(program.sandboxId);
        break;
    }
    const failure = error.with({ sandboxId: program.sandboxId });
    if (live.isEmpty) throw failure;
    return { execution: soFar('failed'), images: [], failure };
  };

  const answer = async (executionId: string, call: Call): Promise<Executed> => {
    const { about, elapsedMs, outcome } = await runs.wait(executionId, call);
    const withSandbox = about.sandbox === undefined ? {} : { sandbox: about.sandbox };
    if (outcome !== undefined) return { ...outcome, ...withSandbox };
    const execution = withOutput(
      bareExecution(about.program, 'running', elapsedMs / 1000),
      about.live,
      outputLimitChars,
    );
    return { execution, images: [], ...withSandbox };
  };

  return {
    start(input, { sandboxId, sandbox }, call) {
      const executionId = `exec_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
      const { language, timeoutSeconds } = input;
      const program = { executionId, sandboxId, language, timeoutSeconds };
      const startedMs = now();
      const started = { program, sandbox, live: createLiveOutput(outputLimitChars) };
      runs.start(executionId, started, (signal) =>
        run(input, program, started.live, { ...call, signal }).catch((error: unknown) =>
          afterFailure(error, started, (now() - startedMs) / 1000),
        ),
      );
      return answer(executionId, call);
    },
    wait: answer,
    async cancel(executionId, call) {
      runs.cancel(executionId);
      return answer(executionId, call);
    },
    cancelAll: runs.cancelAll,
  };
}

function isDetached({ timeoutSeconds }: Program): boolean {
  return timeoutSeconds > MAX_EXECUTE_SECONDS;
}

/** A run with what was heard of it; if it is over, that is all there is but for what is in `folder`. */
function withOutput(execution: Execution, live: LiveOutput, limitChars: number, folder?: string): Execution {
  const chars = {
    stdout: live.shown('stdout').totalChars,
    stderr: live.shown('stderr').totalChars,
    result: 0,
  };
  const limits = shareOut(chars, execution.status, limitChars);
  const seen = { stdout: live.shown('stdout', limits.stdout), stderr: live.shown('stderr', limits.stderr) };
  const truncated = (['stdout', 'stderr'] as const).flatMap((stream) => {
    const { shown, totalChars, isCut } = seen[stream];
    const file = folder === undefined ? {} : { full_output_path: `${folder}/${stream}` };
    return isCut ? [{ stream, shown_chars: shown.length, total_chars: totalChars, ...file }] : [];
  });
  return {
    ...execution,
    stdout: seen.stdout.shown,
    stderr: seen.stderr.shown,
    ...(execution.status !== 'running' && truncated.length > 0 && { truncated }),
  };
}

/** What the run left in the workspace; the engine tells it, an API that does not is asked when files matter. */
async function collectFiles(
  api: HopxClient,
  input: ExecuteInput,
  reply: ExecuteReply,
  elapsedSeconds: number,
  sandboxId: string,
  call: Call,
) {
  const matters = input.files !== undefined || input.readPaths !== undefined;
  const artifacts =
    reply.artifacts?.map(toArtifact) ??
    (matters ? await findArtifacts(api, sandboxId, elapsedSeconds, call).catch(() => []) : []);
  return { artifacts, ...(await readOutputs(api, sandboxId, input.readPaths ?? [], call)) };
}
