/** A clock that only moves when told; timers run in order of time as it passes them. */
export type VirtualClock = {
  now(): number;
  setTimer(run: () => void, delayMs: number): () => void;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
  /** Moves on by `ms`, letting promises settle between timers. */
  advance(ms: number): Promise<void>;
  readonly pendingTimers: number;
};

export function createVirtualClock(): VirtualClock {
  let nowMs = 0;
  let timers: { atMs: number; run: () => void }[] = [];
  const settle = async () => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  const setTimer = (run: () => void, delayMs: number) => {
    const timer = { atMs: nowMs + Math.max(0, delayMs), run };
    timers.push(timer);
    return () => {
      timers = timers.filter((other) => other !== timer);
    };
  };
  return {
    now: () => nowMs,
    setTimer,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        const cancel = setTimer(resolve, ms);
        signal.addEventListener('abort', () => {
          cancel();
          reject(signal.reason);
        });
      }),
    async advance(ms) {
      const untilMs = nowMs + ms;
      await settle();
      for (;;) {
        const next = timers.filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
        if (next === undefined) break;
        timers = timers.filter((timer) => timer !== next);
        nowMs = Math.max(nowMs, next.atMs);
        next.run();
        await settle();
      }
      nowMs = untilMs;
      await settle();
    },
    get pendingTimers() {
      return timers.length;
    },
  };
}
