import type { z } from 'zod';
import { type Outcome, SandboxFailure } from '../contract/failures.ts';

/** Whether a body is what a schema describes. */
export function matches(schema: z.ZodType): (body: unknown) => boolean {
  return (body) => schema.safeParse(body).success;
}

/** The body as its schema reads it; throws `INVALID_RESPONSE` with what is known of the outcome. */
export function parseReply<T>(
  schema: z.ZodType<T>,
  { status, body }: { status: number; body: unknown },
  outcome: Outcome = 'not_performed',
): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new SandboxFailure('INVALID_RESPONSE', { httpStatus: status, outcome, cause: parsed.error });
}
