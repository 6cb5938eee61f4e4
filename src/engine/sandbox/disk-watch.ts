import type { Stats } from 'node:fs';
import { lstat, readdir, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { descendants } from './process-tree.ts';

type Looked = {
  /** Looked through with all that is below them, on one disk. */
  places: readonly [string, ...string[]];
  maxBytes: number;
  maxFiles: number;
  /** The process outside whose descendants may hold files open that have no name any more. */
  rootPid?: number;
};

type DiskWatchOptions = Looked & {
  onOverLimit(): void;
  pollMs?: number;
  /** When the next look is due after one that took so long, if the disk says nothing before. */
  restMs?(lookMs: number): number;
  /** Of the disk on which a place is; undefined where it is gone. */
  freeBytes?(place: string): Promise<number | undefined>;
};

/** What a disk takes in some four polls: programs are not to find it full before this ends who fills it. */
const RESERVE_BYTES = 2 * 1024 ** 3;

/** Files come and go in a busy directory, but hardly within each of so many looks in a row. */
const ELUSIVE_LOOKS = 4;

/** A fifth of the time at most, but never so long that many empty files get through. */
const fourfold = (lookMs: number) => Math.min(4 * lookMs, 5000);

/**
 * Looks again and again at how much lies in directories that no file system caps; the answer stops it. Others write to
 * the disk, too, so what it lost and no look found ends a sandbox only if that hides files, or the disk is nearly full.
 */
export function watchDisk(options: DiskWatchOptions): () => void {
  const { places, maxBytes, onOverLimit } = options;
  // A disk takes some 0.5 GiB in that time.
  const { pollMs = 500, restMs = fourfold, freeBytes = freeBytesAt } = options;
  const stopped = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let freeAtStart: number | undefined;
  let last = { bytes: 0, free: 0 };
  let dueMs = 0;
  let elusive = new Map<string, number>();

  const isOverLimit = async () => {
    const free = await freeBytes(places[0]);
    if (free === undefined) return false;
    freeAtStart ??= free;
    // Until the disk has lost what was left to this sandbox, it can have taken no more than that.
    const isUrgent = last.free - free > maxBytes - last.bytes;
    if (!isUrgent && performance.now() < dueMs) return false;
    const startedMs = performance.now();
    const found = await look(options, stopped.signal);
    if (found === undefined) return true;
    last = { bytes: found.bytes, free };
    elusive = new Map([...found.movedIn].map((place) => [place, (elusive.get(place) ?? 0) + 1]));
    const isMissing = freeAtStart - free - found.bytes > maxBytes;
    dueMs = isMissing && elusive.size > 0 ? 0 : performance.now() + restMs(performance.now() - startedMs);
    return (
      isMissing && (free < RESERVE_BYTES || [...elusive.values()].some((looks) => looks >= ELUSIVE_LOOKS))
    );
  };
  const poll = async () => {
    const isOver = await isOverLimit();
    if (stopped.signal.aborted) return;
    if (isOver) onOverLimit();
    else next(pollMs);
  };
  const next = (delayMs: number) => {
    timer = setTimeout(() => void poll(), delayMs).unref();
  };
  next(0);
  return () => {
    stopped.abort();
    clearTimeout(timer);
  };
}

/** Side by side; the thread pool of Node has four threads. */
const FILES_AT_ONCE = 64;
const DIRECTORIES_AT_ONCE = 8;

/** Undefined where it is too much. */
async function look({ places, maxBytes, maxFiles, rootPid }: Looked, signal: AbortSignal) {
  const queue: string[] = [...places];
  /** Directories that lost an entry between two steps. */
  const movedIn = new Set<string>();
  let files = 0;
  let bytes = rootPid === undefined ? 0 : await namelessBytes(rootPid);
  const isTooMuch = () => files > maxFiles || bytes > maxBytes;
  const bytesOfUnseen = (file: string, error: unknown) => {
    // What cannot be looked at may hold anything.
    if (!isGone(error)) return Number.POSITIVE_INFINITY;
    movedIn.add(path.dirname(file));
    return 0;
  };
  const list = async (place: string) => {
    const entries = await readdir(place, { withFileTypes: true }).catch((error) => {
      bytes += bytesOfUnseen(place, error);
      return [];
    });
    for (const entry of entries) if (entry.isDirectory()) queue.push(path.join(place, entry.name));
    return entries.map(({ name }) => path.join(place, name));
  };
  const measure = (file: string) => lstat(file).then(bytesOf, (error) => bytesOfUnseen(file, error));
  while (queue.length > 0 && !isTooMuch() && !signal.aborted) {
    const found = (await Promise.all(queue.splice(-DIRECTORIES_AT_ONCE).map(list))).flat();
    files += found.length;
    for (let first = 0; first < found.length && !isTooMuch(); first += FILES_AT_ONCE) {
      const sizes = await Promise.all(found.slice(first, first + FILES_AT_ONCE).map(measure));
      bytes += sizes.reduce((sum, size) => sum + size, 0);
    }
  }
  return isTooMuch() ? undefined : { bytes, movedIn };
}

/** Whether a file is not there any more, or no directory any more. */
const isGone = (error: unknown) =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

/** What deleted files take that are still open; those of a process that may not be looked into are not found. */
async function namelessBytes(rootPid: number): Promise<number> {
  const sizes = new Map<string, number>();
  for (const pid of descendants(rootPid)) {
    const directory = `/proc/${pid}/fd`;
    const descriptors = await readdir(directory).catch(() => []);
    const open = await Promise.all(
      descriptors.map((name) => stat(`${directory}/${name}`).catch(() => undefined)),
    );
    for (const file of open)
      if (file?.isFile() && file.nlink === 0) sizes.set(`${file.dev}:${file.ino}`, bytesOf(file));
  }
  return [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** What it takes on the disk, which is less than its length where it has holes; linux counts in blocks of 512 bytes. */
function bytesOf({ blocks }: Stats): number {
  return blocks * 512;
}

/** For those who are not root, for whom some is kept. */
async function freeBytesAt(place: string): Promise<number | undefined> {
  const disk = await statfs(place).catch(() => undefined);
  return disk && disk.bavail * disk.bsize;
}
