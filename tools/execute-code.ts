import { z } from 'zod';
import type { Execution, FileContent, Sandbox } from '../src/contract/results.ts';
import type { Executed } from '../src/sandboxes/executions.ts';
import { environment, sandboxId } from './fields.ts';
import { type Answer, defineTool } from './tool.ts';

const DEFAULT_SECONDS = 60;

/** With execution_id they would do nothing. Models copy language and sandbox_id along, and some hosts defaults. */
const withCodeOnly = ['files', 'read_paths', 'env', 'workdir', 'timeout_seconds'] as const;

const filePath = z.string().min(1).max(1_000);

/** Runs code, waits on for a run or stops it; only images leave its answer without a structured form. */
export const executeCode = defineTool({
  name: 'execute_code',
  title: 'Execute code',
  description: `Runs Python, JavaScript, Bash or Go code in an isolated sandbox and returns its output.
Without sandbox_id it uses this session's default sandbox, made on first use. Files under /workspace stay for later calls. Python keeps its variables and imports from call to call, and the value of the last expression comes back as result; every JavaScript, Bash or Go run starts fresh. Figures drawn with matplotlib come back as images. files are written before the run, artifacts lists what it made or changed, and read_paths returns chosen files: one call does a whole data task.
Code that fails or runs out of time is an error that carries the output so far; it is never run a second time by itself. A run that outlasts this call answers with status "running" and an execution_id: call again with only that execution_id to wait on, or with cancel true to stop it.`,
  input: z
    .strictObject({
      code: z
        .string()
        .min(1)
        .max(1_000_000)
        .optional()
        .describe('The program. Required unless execution_id is given.'),
      language: z
        .enum(['python', 'javascript', 'bash', 'go'])
        .default('python')
        .describe('Go only where the sandbox lists it in languages.'),
      sandbox_id: sandboxId
        .optional()
        .describe('Where to run it. Default: the default sandbox of this session.'),
      timeout_seconds: z
        .number()
        .min(1)
        .max(3_600)
        .default(DEFAULT_SECONDS)
        .describe(
          'The code is stopped after this many seconds, its output kept. Above 300 it runs detached: no Python variables, result or figures.',
        ),
      files: z
        .array(
          z
            .strictObject({
              path: filePath,
              content: z.string().optional(),
              content_base64: z.base64().optional(),
            })
            .refine((file) => (file.content === undefined) !== (file.content_base64 === undefined), {
              error: 'must have either content or content_base64',
            }),
        )
        .max(20)
        .optional()
        .describe('Files to write before the run; paths relative to /workspace.'),
      read_paths: z
        .array(filePath)
        .max(10)
        .optional()
        .describe('Files to return after the run, bounded; pictures come as images.'),
      env: environment.optional().describe('Environment variables for this run only.'),
      workdir: z
        .string()
        .regex(/^\//, 'must be an absolute path')
        .optional()
        .describe('Absolute working directory. Default /workspace.'),
      execution_id: z.string().max(100).optional().describe('Wait on for this run instead of starting one.'),
      cancel: z.boolean().optional().describe('With execution_id: stop that run.'),
    })
    .refine((input) => (input.code === undefined) !== (input.execution_id === undefined), {
      path: ['code'],
      error: 'must be given to start a run, and left out when execution_id is given',
    })
    .refine((input) => input.cancel === undefined || input.execution_id !== undefined, {
      path: ['cancel'],
      error: 'goes with execution_id only',
    })
    .superRefine((input, context) => {
      if (input.execution_id === undefined) return;
      for (const field of withCodeOnly) {
        const isGiven = input[field] !== undefined && input[field] !== DEFAULT_SECONDS;
        if (isGiven) context.addIssue({ code: 'custom', path: [field], message: 'goes with code only' });
      }
    }),
  hints: { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true },
  async run(input, sandboxes, call) {
    const { code, execution_id: executionId } = input;
    if (executionId !== undefined) {
      const verb = input.cancel ? sandboxes.cancel : sandboxes.wait;
      return answerOf(await verb(executionId, call));
    }
    const executed = await sandboxes.execute(
      {
        code: code ?? '',
        language: input.language,
        sandboxId: input.sandbox_id,
        timeoutSeconds: input.timeout_seconds,
        env: input.env,
        workdir: input.workdir,
        files: input.files?.map(({ path, content, content_base64: contentBase64 }) => ({
          path,
          content,
          contentBase64,
        })),
        readPaths: input.read_paths,
      },
      call,
    );
    return answerOf(executed);
  },
});

function answerOf({ execution, images, sandbox, failure }: Executed): Answer {
  return {
    payload: { execution, ...(sandbox !== undefined && { sandbox }) },
    text: describeExecution(execution, sandbox),
    images,
    ...(failure !== undefined && { failure }),
  };
}

/** Files come last: where a text has to be cut, they are what can be had again. */
function describeExecution(execution: Execution, sandbox: Sandbox | undefined): string {
  const { status, exit_code: exitCode, execution_time_seconds: seconds } = execution;
  const facts = [
    `${execution.language} ${status.replace('_', ' ')}`,
    ...(exitCode === null ? [] : [`exit code ${exitCode}`]),
    `${seconds.toFixed(2)} s`,
    `execution ${execution.execution_id}`,
    `sandbox ${execution.sandbox_id}`,
  ];
  const notes = [
    ...(status === 'running'
      ? [
          `The code is still running. Call execute_code with execution_id "${execution.execution_id}" to wait on.`,
        ]
      : []),
    ...(execution.ended_by === undefined ? [] : [`Ended by: ${execution.ended_by}.`]),
    ...(execution.variables_lost
      ? ['The Python process was restarted: variables are gone, files are not.']
      : []),
    ...(execution.truncated ?? []).map(
      ({ stream, total_chars: total, full_output_path: path }) =>
        `${stream} has ${total} characters; ${path === undefined ? 'the rest was not kept' : `all of it is in ${path} in the sandbox`}.`,
    ),
    ...(execution.images === undefined
      ? []
      : [`Images with this text: ${execution.images.media_types.join(', ')}.`]),
    ...(sandbox === undefined
      ? []
      : [`It is this session's default sandbox; it expires ${sandbox.expires_at ?? 'never'}.`]),
    ...(execution.artifacts === undefined
      ? []
      : [
          `Files made or changed: ${execution.artifacts.map(({ path, size }) => `${path} (${size} bytes)`).join(', ')}`,
        ]),
    ...(execution.files ?? []).map(describeFile),
  ];
  const streams = [
    section('result', execution.result),
    section('stdout', execution.stdout),
    section('stderr', execution.stderr),
  ];
  const output = streams.join('') || '\n(no output)';
  return `${facts.join(', ')}.${output}${notes.map((note) => `\n${note}`).join('')}`;
}

function section(name: string, text: string | undefined): string {
  return text ? `\n${name}:\n${text.replace(/\n$/, '')}` : '';
}

function describeFile({
  path,
  size,
  content,
  content_base64: base64,
  shown_as: shownAs,
  error,
}: FileContent): string {
  const about = size === undefined ? path : `${path} (${size} bytes)`;
  if (error !== undefined) return `${about}: ${error}`;
  if (shownAs !== undefined) return `${about}: shown as an image`;
  if (base64 !== undefined) return `${about}, base64:\n${base64}`;
  return content === undefined ? about : `${about}:\n${content}`;
}
