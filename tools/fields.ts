import { z } from 'zod';

/** The id of a sandbox, as every tool takes it. */
export const sandboxId = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,128}$/, 'must be the sandbox_id that create_sandbox or list_sandboxes gave');

/** Environment variables by name. */
export const environment = z.record(
  z
    .string()
    .regex(
      /^[A-Za-z_][A-Za-z0-9_]*$/,
      'the name of a variable must be letters, digits and _, not starting with a digit',
    ),
  z.string(),
);
