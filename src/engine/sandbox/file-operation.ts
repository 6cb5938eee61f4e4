import { type ExchangeDeps, exchange } from './exchange.ts';

export type FileRequest =
  | { op: 'read'; path: string }
  | { op: 'write'; path: string; data: string; overwrite: boolean; mode?: number };

/** As the agent caps it. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;

/** Reads or writes one file through the agent; resolves with what was read, which is nothing for a write. */
export async function operateOnFile(
  deps: ExchangeDeps,
  id: string,
  request: FileRequest,
): Promise<Uint8Array> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  await exchange(deps, { ...request, id }, (event) => {
    if (event.event === 'done') return 'last';
    if (event.event !== 'data' || request.op !== 'read') return 'stray';
    const piece = Buffer.from(event.base64, 'base64');
    pieces.push(piece);
    bytes += piece.length;
    return piece.length > 0 && bytes <= MAX_FILE_BYTES ? 'more' : 'stray';
  });
  return Buffer.concat(pieces);
}
