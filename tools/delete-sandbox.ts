import { z } from 'zod';
import { sandboxId } from './fields.ts';
import { defineTool } from './tool.ts';

/** Ends a sandbox; one that is gone counts as deleted. */
export const deleteSandbox = defineTool({
  name: 'delete_sandbox',
  title: 'Delete a sandbox',
  description: `Deletes a sandbox with everything in it: files, variables, running code.
Deleting one that is gone already succeeds, with already_gone true. It cannot be undone; read the files you need first.`,
  input: z.strictObject({
    sandbox_id: sandboxId.describe('The sandbox to delete.'),
  }),
  output: { deletion: z.looseObject({ sandbox_id: z.string(), already_gone: z.boolean() }) },
  hints: { readOnlyHint: false, destructiveHint: true, idempotentHint: true, openWorldHint: true },
  async run({ sandbox_id }, sandboxes, call) {
    const deletion = await sandboxes.delete(sandbox_id, call);
    const text = deletion.already_gone
      ? `Sandbox ${sandbox_id} was already gone.`
      : `Deleted sandbox ${sandbox_id} with everything in it.`;
    return { payload: { deletion }, text };
  },
});
