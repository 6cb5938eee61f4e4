import { SandboxFailure } from '../contract/failures.ts';
import type { ExecuteReply } from '../contract/hopx.ts';
import type {
  Execution,
  ExecutionStatus,
  FileContent,
  Image,
  Language,
  TruncatedStream,
} from '../contract/results.ts';
import { boundOutput } from './bounded-output.ts';
import { MAX_IMAGE_CHARS } from './workspace-files.ts';

/** One program handed to a sandbox. */
export type Program = { executionId: string; sandboxId: string; language: Language; timeoutSeconds: number };

/** Exit codes seen for a run that was stopped for its time; HopX documents none. */
const KILLED = new Set([124, 137, 143, -1]);
/** At the default limit all streams stay below the 40,000 characters that every host shows of a result. */
const TOGETHER = 1.2;
/** The text of a failure has 8,000 characters: so much output, and a fifth more, fits in beside the report. */
const MAX_FAILED_CHARS = 5_000;

/** Keeps the whole of a cut output somewhere in the sandbox; resolves to its path, or undefined if that failed. */
export type KeepOutput = (name: string, content: Kept) => Promise<string | undefined>;
type Kept = { content: string } | { base64: string };

/** The reply to a run as the model gets it: classified, bounded, images apart. */
export async function readExecution(
  program: Program,
  reply: ExecuteReply,
  limitChars: number,
  keep: KeepOutput,
): Promise<{ execution: Execution; images: Image[] }> {
  const truncated: TruncatedStream[] = [];
  const texts = { stdout: reply.stdout ?? '', stderr: reply.stderr ?? '', result: reply.result ?? '' };
  const status = statusOf(reply, program.timeoutSeconds);
  const { stdout: out, stderr: err, result: value } = texts;
  const chars = { stdout: out.length, stderr: err.length, result: value.length };
  const limits = shareOut(chars, status, limitChars);
  const bound = async (stream: TruncatedStream['stream']): Promise<string> => {
    const text = texts[stream];
    const cutBefore = reply.truncated?.find((cut) => cut.stream === stream);
    const { shown, totalChars, isCut } = boundOutput(text, limits[stream]);
    if (!isCut && cutBefore === undefined) return shown;
    // What was cut before it came here is not all there is, and no use to keep.
    const path =
      cutBefore === undefined
        ? await keep(`${program.executionId}.${stream}.txt`, { content: text })
        : (cutBefore.full_output_path ?? undefined);
    truncated.push({
      stream,
      shown_chars: shown.length,
      total_chars: cutBefore?.total_chars ?? totalChars,
      ...(path !== undefined && { full_output_path: path }),
    });
    return shown;
  };

  const fitting = reply.png && reply.png.length <= MAX_IMAGE_CHARS ? reply.png : undefined;
  const images = fitting === undefined ? [] : [{ mediaType: 'image/png', base64: fitting }];
  const stdout = await bound('stdout');
  const stderr = await bound('stderr');
  const result = reply.result ? await bound('result') : undefined;
  const files = await keepPictures(program, reply, keep);
  return {
    images,
    execution: {
      execution_id: program.executionId,
      sandbox_id: program.sandboxId,
      language: program.language,
      status,
      stdout,
      stderr,
      exit_code: reply.exit_code ?? null,
      execution_time_seconds: reply.execution_time ?? 0,
      ...(result !== undefined && { result }),
      ...(images.length > 0 && {
        images: { count: images.length, media_types: images.map((image) => image.mediaType) },
      }),
      ...(truncated.length > 0 && { truncated }),
      ...(files.length > 0 && { files }),
      ...(reply.ended_by && { ended_by: reply.ended_by }),
      ...(reply.variables_lost && { variables_lost: true }),
    },
  };
}

/** Pictures that cannot be shown: too large for hosts, or of a kind that they do not take. */
async function keepPictures(
  { executionId }: Program,
  { png, svg }: ExecuteReply,
  keep: KeepOutput,
): Promise<FileContent[]> {
  const kept: FileContent[] = [];
  if (png && png.length > MAX_IMAGE_CHARS) {
    const path = await keep(`${executionId}.png`, { base64: png });
    const error = 'Too large to show; scale it down in the sandbox and read it back with read_paths.';
    kept.push({ path: path ?? 'not kept', media_type: 'image/png', error });
  }
  if (svg && !png) {
    const path = await keep(`${executionId}.svg`, { content: svg });
    if (path !== undefined) kept.push({ path, size: Buffer.byteLength(svg), media_type: 'image/svg+xml' });
  }
  return kept;
}

type Streams<Of> = Record<TruncatedStream['stream'], Of>;

/** Each stream may have the limit, but all together only a fifth more: the smaller ones take their part first. */
export function shareOut(
  chars: Streams<number>,
  status: ExecutionStatus,
  limitChars: number,
): Streams<number> {
  const hasFailed = status === 'failed' || status === 'timed_out';
  const mostChars = hasFailed ? Math.min(limitChars, MAX_FAILED_CHARS) : limitChars;
  const limits: Streams<number> = { stdout: mostChars, stderr: mostChars, result: mostChars };
  const smallestFirst = (['stdout', 'stderr', 'result'] as const).toSorted((a, b) => chars[a] - chars[b]);
  let left = Math.floor(mostChars * TOGETHER);
  smallestFirst.forEach((stream, index) => {
    limits[stream] = Math.min(mostChars, Math.floor(left / (smallestFirst.length - index)));
    left -= Math.min(chars[stream], limits[stream]);
  });
  return limits;
}

function statusOf(reply: ExecuteReply, timeoutSeconds: number): ExecutionStatus {
  if (reply.ended_by === 'timeout' || reply.code === 'EXECUTION_TIMEOUT') return 'timed_out';
  if (reply.ended_by === 'cancel') return 'cancelled';
  // A Go server leaves a zero out of its JSON.
  const exitCode = reply.exit_code ?? (reply.success === true ? 0 : undefined);
  const succeeded = exitCode === 0 && reply.success !== false;
  if (succeeded) return 'completed';
  const ranOut = KILLED.has(reply.exit_code ?? 0) && (reply.execution_time ?? 0) >= timeoutSeconds;
  return ranOut ? 'timed_out' : 'failed';
}

/** The failure that goes beside an execution that did not end well; none for what was asked to stop. */
export function failureOf(execution: Execution, timeoutSeconds: number): SandboxFailure | undefined {
  const { status, ended_by: endedBy, exit_code: exitCode, stderr, sandbox_id: sandboxId } = execution;
  const lastLine = stderr.trimEnd().split('\n').at(-1);
  switch (status) {
    case 'completed':
    case 'running':
    case 'cancelled':
      return undefined;
    case 'timed_out':
      return new SandboxFailure('EXECUTION_TIMEOUT', {
        message: `The code was stopped at its time limit of ${timeoutSeconds} s.`,
        sandboxId,
      });
    case 'failed':
      return new SandboxFailure('CODE_EXECUTION_ERROR', {
        message:
          endedBy === 'memory'
            ? 'The code was stopped because it used more memory than the sandbox has.'
            : `The ${execution.language} code failed with exit code ${exitCode ?? 'unknown'}.`,
        ...(lastLine && { upstreamText: lastLine }),
        sandboxId,
      });
  }
}

/** A run of which no more than its end is known. */
export function bareExecution(
  { executionId, sandboxId, language }: Program,
  status: ExecutionStatus,
  seconds: number,
): Execution {
  return {
    execution_id: executionId,
    sandbox_id: sandboxId,
    language,
    status,
    stdout: '',
    stderr: '',
    exit_code: null,
    execution_time_seconds: seconds,
    ...(status === 'timed_out' && { ended_by: 'timeout' as const }),
    ...(status === 'cancelled' && { ended_by: 'cancel' as const }),
  };
}
