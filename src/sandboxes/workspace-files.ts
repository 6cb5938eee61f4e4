import type { HopxClient } from '../client/hopx-client.ts';
import type { Call } from '../contract/call.ts';
import { SandboxFailure } from '../contract/failures.ts';
import { WORKDIR } from '../contract/hopx.ts';
import type { Artifact, FileContent, Image } from '../contract/results.ts';
import { boundOutput } from './bounded-output.ts';

/** A file to write before a run; text, or bytes as base64. */
export type InputFile = { path: string; content?: string | undefined; contentBase64?: string | undefined };

/** Each file that is read back may take so much of the answer, about 2,000 tokens. */
const MAX_TEXT_CHARS = 8_000;
/** Twice that as base64: half a file of bytes is of no use. */
const MAX_BINARY_BYTES = 12_000;
/** Of base64. Claude Desktop cuts a result at 1 MB; one image of this size leaves room for the rest. */
export const MAX_IMAGE_CHARS = 700_000;
/** A listing is for orientation; a longer one the code prints itself. */
const MAX_ARTIFACTS = 50;

const mediaTypes: Readonly<Record<string, string>> = {
  csv: 'text/csv',
  gif: 'image/gif',
  html: 'text/html',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  json: 'application/json',
  md: 'text/markdown',
  pdf: 'application/pdf',
  png: 'image/png',
  svg: 'image/svg+xml',
  txt: 'text/plain',
  webp: 'image/webp',
  zip: 'application/zip',
};
/** What hosts show as a picture. */
const pictures = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);

/** The media type that a file's name says. */
export function mediaTypeOf(path: string): string {
  return mediaTypes[/\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? ''] ?? 'application/octet-stream';
}

/** A path as the model may give it: below the workspace unless it is absolute. */
export function absolutePath(path: string): string {
  return path.startsWith('/') ? path : `${WORKDIR}/${path}`;
}

/** Writes all files; when one cannot be written, throws before anything has run. */
export async function writeInputs(
  client: HopxClient,
  sandboxId: string,
  files: readonly InputFile[],
  call: Call,
): Promise<void> {
  for (const { path, content, contentBase64 } of files) {
    const file = {
      path: absolutePath(path),
      ...(contentBase64 === undefined ? { content: content ?? '' } : { base64: contentBase64 }),
    };
    await client.writeFile(sandboxId, file, call).catch((error: unknown) => {
      if (!(error instanceof SandboxFailure)) throw error;
      const message = `The file "${path}" could not be written, so no code was run. ${error.message}`;
      throw new SandboxFailure(error.code, { ...error.facts, message, outcome: 'not_performed' });
    });
  }
}

/** The files of the workspace that changed in the last `elapsedSeconds`, hidden ones and node_modules left out. */
export async function findArtifacts(
  client: HopxClient,
  sandboxId: string,
  elapsedSeconds: number,
  call: Call,
): Promise<Artifact[]> {
  const command = `find ${WORKDIR} -xdev -type f -newermt '-${Math.ceil(elapsedSeconds) + 1} seconds' -not -path '*/.*' -not -path '*/node_modules/*' -printf '%s %p\\n' | head -n ${MAX_ARTIFACTS}`;
  const { stdout } = await client.runCommand(sandboxId, command, call);
  return stdout.split('\n').flatMap((line) => {
    const [, size, path] = /^(\d+) (.+)$/.exec(line) ?? [];
    return size === undefined || path === undefined ? [] : [toArtifact({ path, size: Number(size) })];
  });
}

/** A file as results list it. */
export function toArtifact({ path, size }: { path: string; size: number }): Artifact {
  return { path, size, media_type: mediaTypeOf(path) };
}

/** Reads files back, each bounded; pictures come as images, and what cannot be read says why. */
export async function readOutputs(
  client: HopxClient,
  sandboxId: string,
  paths: readonly string[],
  call: Call,
): Promise<{ files: FileContent[]; images: Image[] }> {
  const files: FileContent[] = [];
  const images: Image[] = [];
  for (const path of paths.map(absolutePath)) {
    try {
      const bytes = await client.readFile(sandboxId, path, call);
      const { file, image } = toContent(path, bytes);
      files.push(file);
      if (image !== undefined) images.push(image);
    } catch (error) {
      if (!(error instanceof SandboxFailure)) throw error;
      files.push({ path, error: `${error.code}: ${error.message}` });
    }
  }
  return { files, images };
}

function toContent(path: string, bytes: Buffer): { file: FileContent; image?: Image } {
  const mediaType = mediaTypeOf(path);
  const about = { path, size: bytes.length, media_type: mediaType };
  const base64 = () => bytes.toString('base64');
  if (pictures.has(mediaType) && bytes.length * 1.34 <= MAX_IMAGE_CHARS) {
    return { file: { ...about, shown_as: 'image' }, image: { mediaType, base64: base64() } };
  }
  const isText = !bytes.subarray(0, 8_192).includes(0) && !pictures.has(mediaType);
  if (isText) {
    const { shown, isCut } = boundOutput(bytes.toString('utf8'), MAX_TEXT_CHARS);
    return { file: { ...about, content: shown, ...(isCut && { truncated: true as const }) } };
  }
  if (bytes.length <= MAX_BINARY_BYTES) return { file: { ...about, content_base64: base64() } };
  return { file: { ...about, error: 'Binary and too large to show here; process it in the sandbox.' } };
}
