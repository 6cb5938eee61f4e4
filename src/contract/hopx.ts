import { z } from 'zod';
import { languages } from './results.ts';

/** What HopX applies to every sandbox unless told otherwise (HopX docs, Execute code). */
export const WORKDIR = '/workspace';

/** The longest `timeout` that one `/execute` request may ask for, in seconds (HopX docs, Execute code). */
export const MAX_EXECUTE_SECONDS = 300;

/** Requests that HopX allows in a minute (docs, Rate limits): to the control plane, to one sandbox's agent, and creations. */
export const HOPX_RATES_PER_MINUTE = { control: 100, agent: 300, create: 20 } as const;

const timestamp = z.string();

/** `POST /v1/sandboxes` (HopX OpenAPI); one of the two template selectors is required. */
export const createRequest = z.object({
  template_id: z.union([z.string(), z.number()]).transform(String).optional(),
  template_name: z.string().optional(),
  region: z.string().optional(),
  timeout_seconds: z.int().positive().optional(),
  internet_access: z.boolean().optional(),
  env_vars: z.record(z.string(), z.string()).optional(),
});
export type CreateRequest = z.input<typeof createRequest>;

/** One that says how long the sandbox is to live, as all of this server's do. */
export type TimedCreateRequest = CreateRequest & { timeout_seconds: number };

/** The sandbox object (HopX OpenAPI). `isolation` and `languages` are the embedded engine's own additions. */
export const sandboxReply = z.looseObject({
  id: z.string().min(1),
  status: z.string(),
  public_host: z.string().nullish(),
  direct_url: z.string().nullish(),
  template_id: z.union([z.string(), z.number()]).nullish(),
  template_name: z.string().nullish(),
  region: z.string().nullish(),
  internet_access: z.boolean().nullish(),
  timeout_seconds: z.number().nullish(),
  created_at: timestamp.nullish(),
  expires_at: timestamp.nullish(),
  auth_token: z.string().nullish(),
  token_expires_at: timestamp.nullish(),
  request_id: z.string().nullish(),
  isolation: z.string().optional(),
  languages: z.array(z.enum(languages)).optional(),
});
export type SandboxReply = z.output<typeof sandboxReply>;

/** `GET /v1/sandboxes`; `data` may be null and may hold nulls (the SDKs' changelogs), but it is there. */
export const listReply = z.looseObject({
  data: z
    .array(z.unknown())
    .nullable()
    .transform((entries) => (entries ?? []).flatMap((entry) => sandboxReply.safeParse(entry).data ?? [])),
  has_more: z.boolean().nullish(),
  next_cursor: z.string().nullish(),
});

/** `POST /v1/sandboxes/{id}/token/refresh`. */
export const tokenReply = z.looseObject({
  auth_token: z.string().min(1),
  token_expires_at: timestamp.nullish(),
  public_host: z.string().nullish(),
});

/** `POST /execute` on the agent; `workdir` is the name that works, `working_dir` the documented one. */
export const executeRequest = z.object({
  code: z.string(),
  language: z.string().optional(),
  timeout: z.number().positive().optional(),
  workdir: z.string().optional(),
  working_dir: z.string().optional(),
  env: z.record(z.string(), z.string()).optional(),
});
export type ExecuteRequest = z.input<typeof executeRequest>;

/**
 * The reply to `/execute` (HopX OpenAPI `main.ExecuteResponse`). It comes with 200, and for failing code also with
 * 500 or 408 (HopX docs, Error handling). From `ended_by` on the fields are the embedded engine's own additions.
 */
export const executeReply = z
  .looseObject({
    success: z.boolean().nullish(),
    stdout: z.string().nullish(),
    stderr: z.string().nullish(),
    exit_code: z.number().nullish(),
    execution_time: z.number().nullish(),
    result: z.string().nullish(),
    png: z.string().nullish(),
    svg: z.string().nullish(),
    html: z.string().nullish(),
    markdown: z.string().nullish(),
    json: z.unknown().optional(),
    code: z.string().nullish(),
    ended_by: z.enum(['timeout', 'memory', 'cancel']).nullish(),
    variables_lost: z.boolean().nullish(),
    artifacts: z.array(z.object({ path: z.string(), size: z.number() })).nullish(),
    artifacts_total: z.number().nullish(),
    truncated: z
      .array(
        z.object({
          stream: z.enum(['stdout', 'stderr']),
          total_chars: z.number(),
          full_output_path: z.string().nullish(),
        }),
      )
      .nullish(),
  })
  .refine((reply) => reply.exit_code != null || reply.success != null, 'says neither exit_code nor success');
export type ExecuteReply = z.output<typeof executeReply>;

/** A line of a streamed `/execute`, the embedded engine's own: asked for with `Accept: application/x-ndjson`. */
export const outputEvent = z.object({ type: z.enum(['stdout', 'stderr']), data: z.string() });

/** `PATCH /env` and `PUT /env` on the agent. */
export const envRequest = z.object({
  env_vars: z.record(z.string(), z.string()),
  merge: z.boolean().optional(),
});

/** `POST /files/write` on the agent. */
export const writeFileRequest = z.object({
  path: z.string(),
  content: z.string(),
  encoding: z.string().optional(),
  mode: z.string().optional(),
  overwrite: z.boolean().optional(),
});

/** What an error body says, whichever of the three shapes it has; every field may be missing. */
export type ErrorBody = {
  code?: string;
  text?: string;
  requestId?: string;
  retryAfterSeconds?: number;
};

const codeShape = /^[A-Z][A-Z0-9_]{2,63}$/;
const text = z.string().optional().catch(undefined);
const seconds = z.number().optional().catch(undefined);

const nestedError = z.looseObject({
  code: text,
  message: text,
  request_id: text,
  details: z.looseObject({ retry_after_seconds: seconds }).optional().catch(undefined),
});

const errorBody = z.looseObject({
  error: z.union([z.string(), nestedError]).optional().catch(undefined),
  code: text,
  message: text,
  request_id: text,
  retry_after: seconds,
  details: z.looseObject({ retry_after_seconds: seconds }).optional().catch(undefined),
});

/** Reads flat `{error, code}`, nested `{error: {code, message}}` and inverted `{error: CODE, message}` bodies. */
export function parseErrorBody(body: unknown): ErrorBody {
  const parsed = errorBody.safeParse(body).data;
  if (parsed === undefined) return {};
  const nested = typeof parsed.error === 'object' ? parsed.error : undefined;
  const flat = typeof parsed.error === 'string' ? parsed.error : undefined;
  const inverted = flat !== undefined && codeShape.test(flat);
  const found = {
    code: nested?.code ?? parsed.code ?? (inverted ? flat : undefined),
    text: nested?.message ?? (inverted ? parsed.message : flat) ?? parsed.message,
    requestId: nested?.request_id ?? parsed.request_id,
    retryAfterSeconds:
      parsed.retry_after ?? nested?.details?.retry_after_seconds ?? parsed.details?.retry_after_seconds,
  };
  return {
    ...(found.code !== undefined && codeShape.test(found.code) && { code: found.code }),
    ...(found.text !== undefined && { text: found.text }),
    ...(found.requestId !== undefined && { requestId: found.requestId }),
    ...(found.retryAfterSeconds !== undefined && { retryAfterSeconds: found.retryAfterSeconds }),
  };
}

/** Whether a body is the result of a run, whatever its status says: HopX's docs have failing code answered with 500. */
export function isResultBody(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return false;
  const hasOutput =
    ('stdout' in body && typeof body.stdout === 'string') ||
    ('stderr' in body && typeof body.stderr === 'string');
  return hasOutput && 'exit_code' in body && typeof body.exit_code === 'number';
}
