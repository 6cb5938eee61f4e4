import { closeSync, openSync, readdirSync, readSync, statfsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

/** All descendants of a process on this machine; empty where the kernel does not tell. */
export function descendants(rootPid: number): number[] {
  const found: number[] = [];
  const queue = [rootPid];
  for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
    const children = childrenOf(pid);
    found.push(...children);
    queue.push(...children);
  }
  return found;
}

export function childrenOf(pid: number): number[] {
  return list(`/proc/${pid}/task`).flatMap((thread) =>
    readProc(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
}

/** Bytes of memory that a process holds, page tables and all; what it shares with others, as after a fork, counts in full. */
export function residentBytes(pid: number): number {
  return sumOf(readProc(`/proc/${pid}/status`), /^(?:RssAnon|RssShmem|VmPTE):\s+(\d+) kB$/gm) ?? 0;
}

/** The same with only its part of what is shared; takes a thread 5 ms per GiB, 20 of small pages. Undefined where it cannot be read. */
export async function proportionalBytes(pid: number): Promise<number | undefined> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '');
  const parts = sumOf(rollup, /^(?:Pss_Anon|Pss_Shmem):\s+(\d+) kB$/gm);
  // A rollup leaves out page tables, of which every process has its own.
  const tables = sumOf(readProc(`/proc/${pid}/status`), /^VmPTE:\s+(\d+) kB$/gm) ?? 0;
  return parts === undefined ? undefined : parts + tables;
}

function sumOf(text: string, pattern: RegExp): number | undefined {
  const kibibytes = [...text.matchAll(pattern)].map(([, value]) => Number(value));
  return kibibytes.length === 0 ? undefined : kibibytes.reduce((sum, value) => sum + value, 0) * 1024;
}

/** Files and directories in those places of a sandbox that it can write to, as the process there sees them. */
export function countFiles(pid: number): number {
  const root = `/proc/${pid}/root`;
  let count = 0;
  for (const place of ['workspace', 'tmp', 'dev/shm']) {
    try {
      const { files, ffree } = statfsSync(path.join(root, place));
      count += files - ffree;
    } catch {
      // Gone, or not there.
    }
  }
  return count;
}

/** Of `/proc/PID/stat` what comes after the name: the state first; empty of a process that is gone. */
export function statOf(pid: number): string[] {
  return fieldsOf(`/proc/${pid}/stat`);
}

/** The state of every thread, as a letter; the first may have ended long before the others. */
export function threadStates(pid: number): string[] {
  return list(`/proc/${pid}/task`).flatMap((thread) => fieldsOf(`/proc/${pid}/task/${thread}/stat`)[0] ?? []);
}

function fieldsOf(file: string): string[] {
  const stat = readProc(file);
  // The name may hold anything, parentheses too.
  return stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .filter(Boolean);
}

/** Sends SIGKILL; a process that is gone already is none to complain about. */
export function killProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // ESRCH: gone.
  }
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Room for 130,000 children of one thread, the longest list there is; what else is read takes a page. */
const MAX_BYTES = 1024 * 1024;
const PAGE_BYTES = 4096;

/** The first bytes of a file of /proc, as code in a sandbox decides how long some are; empty where it cannot be read. */
export function readProc(file: string, maxBytes = MAX_BYTES): string {
  try {
    const descriptor = openSync(file, 'r');
    try {
      const pages: Buffer[] = [];
      for (let left = maxBytes; left > 0; left -= pages.at(-1)?.length ?? 0) {
        const page = Buffer.allocUnsafe(Math.min(left, PAGE_BYTES));
        const length = readSync(descriptor, page);
        if (length === 0) break;
        pages.push(page.subarray(0, length));
      }
      return Buffer.concat(pages).toString();
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return '';
  }
}
