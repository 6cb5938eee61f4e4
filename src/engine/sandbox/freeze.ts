import { descendants, threadStates } from './process-tree.ts';

/** Stopped processes, to be let go on. */
export type Frozen = { thaw(): void };

/** A fork bomb is stopped after a few rounds: what is stopped does not fork. */
const MAX_ROUNDS = 50;

/** Stopped, by a signal or a debugger, or ended. */
const AT_REST = 'TtZX';
/** In the kernel, as for a stopped child to leave its memory: it sees the signal before it runs any code. */
const WAITING = 'D';

/** Stops all processes below this one, until a look finds none that runs; those stopped already stay so at the end. */
export function freeze(rootPid: number): Frozen {
  const stopped = new Set<number>();
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const found = descendants(rootPid).map((pid) => ({ pid, states: threadStates(pid) }));
    const awake = found.filter(({ states }) => states.some((state) => !AT_REST.includes(state)));
    // In one go, and all of them each time: one that runs can let those go on that were stopped before it.
    for (const { pid } of awake) if (signal(pid, 'SIGSTOP')) stopped.add(pid);
    if (awake.every(({ states }) => states.every((state) => AT_REST.includes(state) || state === WAITING)))
      break;
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
