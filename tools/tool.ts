import type { z } from 'zod';
import type { Call } from '../src/contract/call.ts';
import type { SandboxFailure } from '../src/contract/failures.ts';
import type { Image } from '../src/contract/results.ts';
import type { Sandboxes } from '../src/sandboxes/sandboxes.ts';

/** What a tool answers: the payload and a text that each say all of it. Beside a failure the text may lose its end. */
export type Answer = {
  payload: Readonly<Record<string, unknown>>;
  text: string;
  images?: readonly Image[];
  /** The call did what was asked, and what it did failed: the payload comes beside the error. */
  failure?: SandboxFailure;
};

/** One MCP tool, as data and a verb. */
export type Tool<Input extends z.ZodObject = z.ZodObject> = {
  name: string;
  title: string;
  description: string;
  input: Input;
  /** The members of a successful result; none for a tool whose results may be images alone. */
  output?: z.ZodRawShape;
  hints: { readOnlyHint: boolean; destructiveHint: boolean; idempotentHint: boolean; openWorldHint: boolean };
  run(input: z.output<Input>, sandboxes: Sandboxes, call: Call): Promise<Answer>;
};

/** Ties a tool's `run` to its own input. */
export function defineTool<Input extends z.ZodObject>(tool: Tool<Input>): Tool<Input> {
  return tool;
}
