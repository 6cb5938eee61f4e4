import { readdirSync, readFileSync } from 'node:fs';

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
    read(`/proc/${pid}/task/${thread}/children`).split(' ').filter(Boolean).map(Number),
  );
}

/** Bytes of memory that go away with the process: private pages, and its part of shared memory and tmpfs maps. */
export function residentBytes(pid: number): number {
  const status = read(`/proc/${pid}/status`);
  const kibibytes = [...status.matchAll(/^(?:RssAnon|RssShmem):\s+(\d+) kB$/gm)].map(([, value]) =>
    Number(value),
  );
  return kibibytes.reduce((sum, value) => sum + value, 0) * 1024;
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

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
