import { descendants, statOf } from './process-tree.ts';

/** Stopped processes, to be let go on. */
export type Frozen = { thaw(): void };

/** A fork bomb is stopped after a few rounds: what is stopped does not fork. */
const MAX_ROUNDS = 50;

/** Stops all processes below this one, until a look finds none that runs; those stopped already stay so at the end. */
export function freeze(rootPid: number): Frozen {
  const stopped = new Set<number>();
  const before = new Set<number>();
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const fresh = descendants(rootPid).filter((pid) => !stopped.has(pid) && !before.has(pid));
    if (fresh.length === 0) break;
    for (const pid of fresh) {
      if (round === 0 && statOf(pid)[0] === 'T') before.add(pid);
      else if (signal(pid, 'SIGSTOP')) stopped.add(pid);
    }
  }
  return {
    thaw() {
      // The agent last, so that it finds its children going on: it was the first to be found.
      for (const pid of [...stopped].reverse()) signal(pid, 'SIGCONT');
      stopped.clear();
    },
  };
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
