import { z } from 'zod';
import { executeRequest, WORKDIR } from '../contract/hopx.ts';

const variables = z.record(z.string(), z.string());

/** `POST /execute/background` (HopX OpenAPI `main.BackgroundExecuteRequest`; the JS SDK sends `workdir` as well). */
export const backgroundRequest = executeRequest.extend({ name: z.string().max(200).optional() });

/** `POST /execute/async`, which is in HopX's docs and SDKs only. */
export const asyncRequest = backgroundRequest.extend({
  callback_url: z.url({ protocol: /^https?$/, error: 'must be an http or https URL' }),
  callback_headers: variables.optional(),
  callback_signature_secret: z.string().optional(),
});

/** `POST /commands/run` and `/commands/background`: an argv where there are `args`, else a line for a shell. */
export const commandRequest = z.object({
  command: z.string().min(1),
  args: z.array(z.string()).optional(),
  timeout: z.number().positive().optional(),
  workdir: z.string().optional(),
  working_dir: z.string().optional(),
  env: variables.optional(),
  name: z.string().max(200).optional(),
});

/** The documented forms of a kill that name the process in the body or the query. */
export const killRequest = z.object({ process_id: z.string().optional() });

/** What names one file. */
export const pathQuery = z.object({ path: z.string().min(1) });

/** What names a folder. */
export const listQuery = z.object({ path: z.string().min(1).default(WORKDIR) });

/** The first frame of `/execute/stream`. */
export const streamRequest = executeRequest.extend({ type: z.literal('execute').optional() });

/** What a terminal takes: sizes as terminals have them. */
export const terminalFrame = z.discriminatedUnion('type', [
  z.object({ type: z.literal('input'), data: z.string() }),
  z.object({
    type: z.literal('resize'),
    cols: z.int().min(1).max(1000),
    rows: z.int().min(1).max(1000),
  }),
]);

/** The first frame of `/files/watch`. */
export const watchFrame = z.object({ action: z.literal('watch'), path: z.string().min(1) });
