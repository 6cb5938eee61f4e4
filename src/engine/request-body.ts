import type { z } from 'zod';
import { SandboxFailure } from '../contract/failures.ts';
import { invalidRequest } from './engine-failure.ts';

/** Bounds what a request can make this process hold; HopX documents no limit, its larger files go by upload. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;

/** So many problems are named in one reply: enough to correct a call, not a way to make replies huge. */
const MAX_PROBLEMS = 5;

/** The JSON body of a request, checked; an absent body counts as `{}`, a null as absent. */
export async function readBody<Schema extends z.ZodType>(
  request: Request,
  schema: Schema,
): Promise<z.output<Schema>> {
  const text = await readText(request);
  return check(schema, text.trim() === '' ? {} : parseJson(text));
}

/** The same value as the schema makes it, or `INVALID_REQUEST` naming the fields that are wrong. */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value, { reportInput: true });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.slice(0, MAX_PROBLEMS).map(({ path, message, input }) => {
    if (path.length === 0) return 'the body must be a JSON object';
    const field = `'${path.join('.').slice(0, 100)}'`;
    return input === undefined ? `missing required field ${field}` : `field ${field}: ${message}`;
  });
  throw invalidRequest(problems.join('; '));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text, (_name, value: unknown) => value ?? undefined);
  } catch {
    throw invalidRequest('the body is not valid JSON');
  }
}

async function readText(request: Request): Promise<string> {
  if (Number(request.headers.get('content-length') ?? 0) > MAX_BODY_BYTES) throw tooLarge();
  try {
    // Node holds a sender to its content-length, so only a chunked body has to be counted.
    if (!request.headers.has('transfer-encoding')) return await request.text();
    const decoder = new TextDecoder();
    let bytes = 0;
    let text = '';
    for await (const chunk of request.body ?? []) {
      bytes += chunk.byteLength;
      if (bytes > MAX_BODY_BYTES) throw tooLarge();
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch (cause) {
    throw cause instanceof SandboxFailure ? cause : invalidRequest('the body was cut short', { cause });
  }
}

function tooLarge(): SandboxFailure {
  return invalidRequest(`the body is over ${MAX_BODY_BYTES / 1024 / 1024} MiB`, { httpStatus: 413 });
}
