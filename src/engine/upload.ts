import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Busboy, type BusboyInstance } from '@fastify/busboy';
import { SandboxFailure } from '../contract/failures.ts';
import { invalidRequest } from './engine-failure.ts';
import type { LocalSandbox } from './sandbox/local-sandbox.ts';

/** One file and its path; the SDKs send nothing else. */
const LIMITS = { files: 1, fields: 8, fieldSize: 16 * 1024 };

/** Streams the `file` part of a form into the sandbox; its path is a field before or after it, or given already. */
export async function receiveUpload(
  incoming: IncomingMessage,
  givenPath: string | undefined,
  sandbox: Pick<LocalSandbox, 'createFile'>,
  signal: AbortSignal,
): Promise<{ path: string; size: number }> {
  const contentType = incoming.headers['content-type'] ?? '';
  if (!contentType.startsWith('multipart/form-data')) {
    throw invalidRequest('the body must be multipart/form-data with a file and its path');
  }
  const writer = await sandbox.createFile();
  const form = parserFor(contentType);
  let path = givenPath;
  let size = 0;
  let received: Promise<void> | undefined;

  const receive = async (part: Readable) => {
    for await (const chunk of part) {
      if (!(chunk instanceof Uint8Array)) continue;
      size += chunk.byteLength;
      await writer.write(chunk);
    }
  };
  form.on('field', (name, value) => {
    if (name === 'path') path = value;
  });
  form.on('file', (name, part) => {
    if (name !== 'file') {
      part.resume();
      return;
    }
    received = receive(part);
    // The form waits for its part to be read, so a failure has to end the form.
    received.catch((failure: unknown) => form.destroy(failure instanceof Error ? failure : undefined));
  });

  try {
    await pipeline(incoming, form, { signal });
    if (received === undefined) throw invalidRequest("missing required field 'file'");
    await received;
    if (path === undefined || path === '') throw invalidRequest("missing required field 'path'");
    await writer.commit(path);
    return { path, size };
  } catch (failure) {
    await writer.discard();
    incoming.resume();
    if (failure instanceof SandboxFailure) throw failure;
    throw invalidRequest('the body was cut short, or is not valid multipart/form-data', { cause: failure });
  }
}

function parserFor(contentType: string): BusboyInstance {
  try {
    return new Busboy({ headers: { 'content-type': contentType }, limits: LIMITS });
  } catch (cause) {
    throw invalidRequest('the body is not valid multipart/form-data', { cause });
  }
}
