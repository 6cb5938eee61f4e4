import { descendants, threadStates } from './process-tree.ts';

/** Stopped processes, to be let go on. */
export type Frozen = { thaw(): void };

/** A fork bomb is stopped after a few rounds: what is stopped does not fork. */
const MAX_ROUNDS = 50;

/** Stopped, by a signal or a debugger, or ended. */
const AT_REST = 'TtZX';

/** Stops all processes below this one, until a look finds none that runs; those stopped already stay so at the end. */
export function freeze(rootPid: number): Frozen {
  const stopped = new Set<number>();
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    let isRunning = false;
    for (const pid of descendants(rootPid)) {
      const states = threadStates(pid).filter((state) => !AT_REST.includes(state));
      if (states.length === 0) continue;
      // However often: what is not yet stopped may have let it go on, or have stopped it before.
      if (signal(pid, 'SIGSTOP')) stopped.add(pid);
      // What waits in the kernel, as for a stopped child to leave its memory, runs no code before it sees the signal.
      isRunning ||= states.some((state) => state !== 'D');
    }
    if (!isRunning) break;
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
