import { type ExchangeDeps, fileFailure } from './exchange.ts';
import { endFailure } from './guest-session.ts';

export type FileRequest =
  | { op: 'read'; path: string }
  | { op: 'write'; path: string; data: string; overwrite: boolean; mode?: number };

/** As the agent caps it. */
const MAX_FILE_BYTES = 64 * 1024 * 1024;
/** Ample for that much base64 through a pipe. */
const ANSWER_MS = 30_000;

/** Reads or writes one file through the agent; resolves with what was read, which is nothing for a write. */
export function operateOnFile(
  { session, timers }: ExchangeDeps,
  id: string,
  request: FileRequest,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let bytes = 0;
    const giveUp = timers.after(ANSWER_MS, () => session.end('crashed', 'the agent did not answer'));
    const settle = (finish: () => void) => {
      giveUp();
      session.finish(id);
      finish();
    };
    session.begin(id, {
      take(event) {
        switch (event.event) {
          case 'data': {
            const piece = Buffer.from(event.base64, 'base64');
            pieces.push(piece);
            bytes += piece.length;
            return request.op === 'read' && piece.length > 0 && bytes <= MAX_FILE_BYTES;
          }
          case 'done':
            settle(() => resolve(Buffer.concat(pieces)));
            return true;
          case 'failed': {
            settle(() => reject(fileFailure(event.code, request.path, event.message)));
            return true;
          }
          default:
            return false;
        }
      },
      sandboxEnded: (reason) => settle(() => reject(endFailure(reason))),
    });
    session.send({ ...request, id });
  });
}
