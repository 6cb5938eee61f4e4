import { z } from 'zod';
import { environment } from './fields.ts';
import { describeSandbox, sandboxShape } from './sandbox-shape.ts';
import { defineTool } from './tool.ts';

/** Makes a sandbox with the settings given, beside the default one. */
export const createSandbox = defineTool({
  name: 'create_sandbox',
  title: 'Create a sandbox',
  description: `Creates an isolated sandbox to run code in and returns its sandbox_id.
You need this only for a second sandbox or for special settings: execute_code without sandbox_id makes and keeps a default one by itself. Files under /workspace last until the sandbox is deleted or its lifetime ends. Delete it with delete_sandbox when you are done: the number of sandboxes is limited.`,
  input: z.strictObject({
    template: z
      .string()
      .min(1)
      .max(100)
      .default('code-interpreter')
      .describe('Template name or id. The default has Python, JavaScript and Bash.'),
    timeout_seconds: z
      .int()
      .min(60)
      .max(86_400)
      .optional()
      .describe(
        'Lifetime: the sandbox deletes itself after this many seconds. Default: the server setting, normally 1800.',
      ),
    internet_access: z
      .boolean()
      .optional()
      .describe('Whether code may reach the internet. Default: off on this machine, on in the HopX cloud.'),
    env: environment.optional().describe('Environment variables for all code run in it.'),
    region: z.string().min(1).max(50).optional().describe('HopX cloud region, such as eu-west.'),
  }),
  output: { sandbox: sandboxShape },
  hints: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: true },
  async run(input, sandboxes, call) {
    const sandbox = await sandboxes.create(
      {
        template: input.template,
        timeoutSeconds: input.timeout_seconds,
        internetAccess: input.internet_access,
        env: input.env,
        region: input.region,
      },
      call,
    );
    return { payload: { sandbox }, text: `Created sandbox ${describeSandbox(sandbox)}` };
  },
});
