import type { z } from 'zod';
import type { ExecuteReply, executeRequest } from '../contract/hopx.ts';
import type { Language } from '../contract/results.ts';
import { invalidRequest } from './engine-failure.ts';
import { checkedEnv } from './env-vars.ts';
import type { RunRequest, RunResult } from './sandbox/local-sandbox.ts';

/** The shortest that HopX's agent accepts, by the models of the Python SDK. */
const MIN_SECONDS = 1;

/** Names that HopX's agent takes for a language, by the models of the Python SDK. */
const languageNames: ReadonlyMap<string, Language> = new Map([
  ['python', 'python'],
  ['python3', 'python'],
  ['javascript', 'javascript'],
  ['js', 'javascript'],
  ['node', 'javascript'],
  ['nodejs', 'javascript'],
  ['bash', 'bash'],
  ['sh', 'bash'],
  ['shell', 'bash'],
  ['go', 'go'],
]);

type SandboxSide = {
  runId: string;
  /** Languages whose tools this machine has. */
  available: readonly Language[];
  sandboxEnv: Readonly<Record<string, string>>;
  /** In seconds. */
  timeout: { default: number; max: number };
};

/** What the sandbox is to run for an `/execute` request; throws `INVALID_REQUEST` naming the field. */
export function toRunRequest(request: z.output<typeof executeRequest>, side: SandboxSide): RunRequest {
  const { max } = side.timeout;
  const seconds = request.timeout ?? side.timeout.default;
  if (seconds < MIN_SECONDS || seconds > max) {
    throw invalidRequest(`field 'timeout': must be from ${MIN_SECONDS} to ${max} seconds`);
  }
  const workdir = request.workdir ?? request.working_dir;
  return {
    runId: side.runId,
    language: toLanguage(request.language ?? 'python', side.available),
    code: request.code,
    timeoutMs: seconds * 1000,
    env: checkedEnv({ ...side.sandboxEnv, ...request.env }),
    ...(workdir !== undefined && { workdir }),
  };
}

function toLanguage(name: string, available: readonly Language[]): Language {
  const language = languageNames.get(name.toLowerCase());
  if (language !== undefined && available.includes(language)) return language;
  const problem = language === undefined ? 'is not supported' : 'is not installed on this machine';
  throw invalidRequest(
    `field 'language': ${JSON.stringify(name.slice(0, 40))} ${problem}; use ${available.join(', ')}`,
  );
}

/** The body of HopX's answer to a run, with the engine's own fields behind. */
export function toExecuteReply(run: RunRequest, result: RunResult, nowMs: number): ExecuteReply {
  const { result: lastValue, png, svg, html, markdown, json } = result;
  return {
    success: result.exitCode === 0,
    stdout: result.stdout,
    stderr: result.stderr,
    exit_code: result.exitCode,
    execution_time: Math.round(result.executionTimeMs * 1000) / 1_000_000,
    timestamp: new Date(nowMs).toISOString(),
    language: run.language,
    // Those that are undefined do not appear in JSON.
    result: lastValue,
    png,
    svg,
    html,
    markdown,
    json,
    artifacts: result.artifacts,
    artifacts_total: result.artifactsTotal,
    ended_by: result.endedBy,
    variables_lost: result.variablesLost,
    truncated: result.truncated.map(({ stream, totalChars, fullOutputPath }) => ({
      stream,
      total_chars: totalChars,
      full_output_path: fullOutputPath,
    })),
  };
}

/** How a failing run is told: `live` as HopX's service does, `documented` as its docs do (Error handling). */
export type ErrorStyle = 'live' | 'documented';

/** The status for a run's reply, and what the body says beside the result. */
export function replyStyle(style: ErrorStyle, run: RunRequest, reply: ExecuteReply) {
  if (style === 'live' || reply.success === true) return { status: 200, extra: {} } as const;
  if (reply.ended_by !== 'timeout') return { status: 500, extra: {} } as const;
  const message = `Execution timeout after ${run.timeoutMs / 1000} seconds`;
  return { status: 408, extra: { error: message, message, code: 'EXECUTION_TIMEOUT' } } as const;
}
