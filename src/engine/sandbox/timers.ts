/** Timers that stand still while the sandbox does. */
export type Timers = {
  /** Calls `run` once so much time has passed that was not paused; the answer takes it back. */
  after(ms: number, run: () => void): () => void;
  pause(): void;
  resume(): void;
};

type Timer = { run: () => void; leftMs: number; startedMs: number; handle: NodeJS.Timeout | undefined };

export function createTimers(): Timers {
  const timers = new Set<Timer>();
  let isPaused = false;

  const start = (timer: Timer) => {
    timer.startedMs = performance.now();
    timer.handle = setTimeout(() => {
      timers.delete(timer);
      timer.run();
    }, timer.leftMs);
  };

  return {
    after(ms, run) {
      const timer: Timer = { run, leftMs: ms, startedMs: 0, handle: undefined };
      timers.add(timer);
      if (!isPaused) start(timer);
      return () => {
        clearTimeout(timer.handle);
        timers.delete(timer);
      };
    },
    pause() {
      if (isPaused) return;
      isPaused = true;
      for (const timer of timers) {
        clearTimeout(timer.handle);
        timer.leftMs = Math.max(0, timer.leftMs - (performance.now() - timer.startedMs));
      }
    },
    resume() {
      if (!isPaused) return;
      isPaused = false;
      for (const timer of timers) start(timer);
    },
  };
}
