import type { Dirent, Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';

type DiskWatchOptions = {
  /** Looked through with all that is below them. */
  places: readonly string[];
  maxBytes: number;
  maxFiles: number;
  onOverLimit(): void;
  pollMs?: number;
};

/** Files that are looked at side by side; the thread pool of Node has four threads. */
const AT_ONCE = 64;

/** Looks again and again at how much lies in directories that no file system caps; the answer stops it. */
export function watchDisk(options: DiskWatchOptions): () => void {
  // A disk takes some 0.5 GiB in that time.
  const { places, maxBytes, maxFiles, onOverLimit, pollMs = 500 } = options;
  let isStopped = false;
  let timer: NodeJS.Timeout | undefined;

  const look = async () => {
    const startedMs = performance.now();
    const queue = [...places];
    let files = 0;
    let bytes = 0;
    for (let place = queue.pop(); place !== undefined && !isStopped; place = queue.pop()) {
      const entries = await readdir(place, { withFileTypes: true }).catch(noneIfMissing);
      // What cannot be looked at may hold anything.
      if (entries === undefined) return onOverLimit();
      const within = (entry: Dirent) => path.join(place, entry.name);
      queue.push(...entries.filter((entry) => entry.isDirectory()).map(within));
      files += entries.length;
      for (
        let first = 0;
        first < entries.length && files <= maxFiles && bytes <= maxBytes;
        first += AT_ONCE
      ) {
        const some = entries.slice(first, first + AT_ONCE).map(within);
        const sizes = await Promise.all(some.map((file) => lstat(file).then(bytesOf, () => 0)));
        bytes += sizes.reduce((sum, size) => sum + size, 0);
      }
      if (isStopped) return;
      if (files > maxFiles || bytes > maxBytes) return onOverLimit();
    }
    // A fifth of the time at most.
    next(Math.max(pollMs, 4 * (performance.now() - startedMs)));
  };
  const next = (delayMs: number) => {
    if (!isStopped) timer = setTimeout(() => void look(), delayMs).unref();
  };
  next(pollMs);
  return () => {
    isStopped = true;
    clearTimeout(timer);
  };
}

/** Nothing where the directory is gone, undefined where it cannot be read. */
function noneIfMissing(error: unknown): [] | undefined {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? [] : undefined;
}

/** What it takes on the disk, which is less than its length where it has holes; linux counts in blocks of 512 bytes. */
function bytesOf({ blocks }: Stats): number {
  return blocks * 512;
}
