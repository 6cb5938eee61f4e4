import { createSandbox } from './create-sandbox.ts';
import { deleteSandbox } from './delete-sandbox.ts';
import { executeCode } from './execute-code.ts';
import { listSandboxes } from './list-sandboxes.ts';
import type { Tool } from './tool.ts';

/** Everything that a model is offered, in the order it is listed. */
export const tools: readonly Tool[] = [executeCode, createSandbox, deleteSandbox, listSandboxes];
