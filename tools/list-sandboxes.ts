import { z } from 'zod';
import { describeSandbox, sandboxShape } from './sandbox-shape.ts';
import { defineTool } from './tool.ts';

/** Twice the largest documented quota; a longer list would only flood the model. */
const MAX_LISTED = 20;

/** Lists the sandboxes of the account or this machine, the first 20 of them. */
export const listSandboxes = defineTool({
  name: 'list_sandboxes',
  title: 'List sandboxes',
  description: `Lists the sandboxes that exist, with their state and end of life.
Use it to find a sandbox_id again or to choose what to delete when the limit is reached. In the HopX cloud it shows all sandboxes of the account, also those that other programs made: delete only your own.`,
  input: z.strictObject({}),
  output: { sandboxes: z.array(sandboxShape) },
  hints: { readOnlyHint: true, destructiveHint: false, idempotentHint: true, openWorldHint: true },
  async run(_input, sandboxes, call) {
    const all = await sandboxes.list(call);
    const shown = all.slice(0, MAX_LISTED);
    const more = all.length > shown.length ? `\n… and ${all.length - shown.length} more.` : '';
    const counted = all.length === 1 ? '1 sandbox' : `${all.length} sandboxes`;
    const text = all.length === 0 ? 'There are no sandboxes.' : `${counted}:\n`;
    return {
      payload: { sandboxes: shown },
      text: text + shown.map((sandbox) => `- ${describeSandbox(sandbox)}`).join('\n') + more,
    };
  },
});
