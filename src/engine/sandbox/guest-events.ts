import { z } from 'zod';

const id = z.string().max(64);
// The agent cuts text into pieces of 128 Ki characters, files into pieces of 512 KiB of base64.
const text = z.string().max(131_072);

const path = z.string().max(4096);
const size = z.int().nonnegative();
const fileEntry = z.strictObject({
  name: z.string().max(255),
  size,
  isDirectory: z.boolean(),
  // Code may date its files as it likes.
  modifiedMs: z.int(),
  mode: z.int().min(0).max(0o7777),
});
export type FileEntry = z.output<typeof fileEntry>;

/** Every line that the agent may send; whatever does not fit ends the sandbox. */
export const guestEvent = z.discriminatedUnion('event', [
  z.strictObject({ event: z.literal('hello') }),
  z.strictObject({ event: z.literal('output'), id, stream: z.enum(['stdout', 'stderr']), text }),
  z.strictObject({
    event: z.literal('cut'),
    id,
    stream: z.enum(['stdout', 'stderr']),
    leftOutChars: z.int().nonnegative(),
    path: z.string().max(256).optional(),
  }),
  z.strictObject({
    event: z.literal('rich'),
    id,
    kind: z.enum(['result', 'png', 'svg', 'html', 'markdown', 'json']),
    text,
  }),
  z.strictObject({
    event: z.literal('exit'),
    id,
    code: z.int().min(0).max(255),
    variablesLost: z.boolean(),
    artifacts: z.array(z.strictObject({ path, size })).max(50).optional(),
    artifactsTotal: size.optional(),
  }),
  z.strictObject({ event: z.literal('data'), id, base64: z.base64().max(524_288) }),
  z.strictObject({ event: z.literal('done'), id }),
  z.strictObject({ event: z.literal('size'), id, bytes: size }),
  z.strictObject({ event: z.literal('exists'), id, exists: z.boolean() }),
  z.strictObject({ event: z.literal('entries'), id, entries: z.array(fileEntry).max(500) }),
  z.strictObject({
    event: z.literal('change'),
    id,
    path,
    change: z.enum(['created', 'modified', 'deleted']),
  }),
  z.strictObject({
    event: z.literal('failed'),
    id,
    code: z.enum(['INVALID_REQUEST', 'RESOURCE_NOT_FOUND', 'FORBIDDEN', 'CONFLICT', 'SERVICE_UNAVAILABLE']),
    message: z.string().max(4096),
  }),
]);
export type GuestEvent = z.output<typeof guestEvent>;
