import { SandboxFailure } from '../../contract/failures.ts';
import { type ExchangeDeps, exchange } from './exchange.ts';
import type { FileEntry, GuestEvent } from './guest-events.ts';

/** A file that is written piece by piece, and is at its place only once it is whole. */
export type FileWriter = {
  write(piece: Uint8Array): Promise<void>;
  commit(path: string, options?: { mode?: number; overwrite?: boolean }): Promise<void>;
  discard(): Promise<void>;
};

export type GuestFiles = {
  /** The bytes come as they are asked for; whoever stops asking ends the iteration. */
  openFile(path: string): Promise<{ size: number; chunks: AsyncIterable<Uint8Array> }>;
  createFile(): Promise<FileWriter>;
  /** By name; of a huge directory the first 10,000. */
  listFiles(path: string): Promise<FileEntry[]>;
  fileExists(path: string): Promise<boolean>;
  /** Directories with all that is in them. */
  removeFile(path: string): Promise<void>;
  /** And the directories above it; one that is there is none to complain about. */
  makeDirectory(path: string): Promise<void>;
};

/** In base64 256 KiB: a line of the channel that neither side has to hold long. */
const PIECE_BYTES = 192 * 1024;

/** The files of a sandbox, through its agent. */
export function createGuestFiles(deps: ExchangeDeps, newId: () => string): GuestFiles {
  const { session } = deps;
  const untilDone = ({ event }: GuestEvent) => (event === 'done' ? 'last' : 'stray');

  async function* pull(id: string, size: number): AsyncGenerator<Uint8Array> {
    let isOver = false;
    let bytes = 0;
    try {
      while (!isOver) {
        let piece = Buffer.alloc(0);
        await exchange(deps, { op: 'pull', id }, (event) => {
          if (event.event !== 'data') return 'stray';
          piece = Buffer.from(event.base64, 'base64');
          return 'last';
        });
        isOver = piece.length === 0;
        bytes += piece.length;
        if (!isOver) yield piece;
      }
      if (bytes !== size)
        throw new SandboxFailure('INTERNAL_ERROR', { message: 'The file changed meanwhile' });
    } finally {
      // At its end the agent closed the file by itself.
      if (!isOver) session.send({ op: 'close', id });
    }
  }

  return {
    async openFile(path) {
      const id = newId();
      let size = 0;
      await exchange(deps, { op: 'open', id, path }, (event) => {
        if (event.event !== 'size') return 'stray';
        size = event.bytes;
        return 'last';
      });
      return { size, chunks: pull(id, size) };
    },

    async createFile() {
      const id = newId();
      await exchange(deps, { op: 'create', id }, untilDone);
      return {
        async write(piece) {
          const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
          for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
            const data = bytes.subarray(start, start + PIECE_BYTES).toString('base64');
            await exchange(deps, { op: 'put', id, data }, untilDone);
          }
        },
        commit: (path, { mode, overwrite = true } = {}) =>
          exchange(
            deps,
            { op: 'commit', id, path, overwrite, ...(mode !== undefined && { mode }) },
            untilDone,
          ),
        async discard() {
          session.send({ op: 'close', id });
        },
      };
    },

    async listFiles(path) {
      const entries: FileEntry[] = [];
      await exchange(deps, { op: 'list', id: newId(), path }, (event) => {
        if (event.event === 'done') return 'last';
        if (event.event !== 'entries' || entries.length > MAX_ENTRIES) return 'stray';
        entries.push(...event.entries);
        return 'more';
      });
      return entries;
    },

    async fileExists(path) {
      let exists = false;
      await exchange(deps, { op: 'exists', id: newId(), path }, (event) => {
        if (event.event !== 'exists') return 'stray';
        exists = event.exists;
        return 'last';
      });
      return exists;
    },

    removeFile: (path) => exchange(deps, { op: 'remove', id: newId(), path }, untilDone),
    makeDirectory: (path) => exchange(deps, { op: 'mkdir', id: newId(), path }, untilDone),
  };
}

/** As the agent caps it. */
const MAX_ENTRIES = 10_000;
