import type { LocalSandbox } from './local-sandbox.ts';

type Spare = Pick<LocalSandbox, 'destroy' | 'ended'>;

export type SandboxPool<T> = {
  /** A sandbox that nobody used, at once if one is kept ready. */
  take(): Promise<T>;
  /** Destroys what is kept ready. */
  close(): void;
};

type SandboxPoolOptions<T> = {
  launch(): Promise<T>;
  /** How many are kept ready; after a first one was asked for, as most servers are started and never used. */
  size?: number;
  /** After the last one was asked for, for how long. */
  idleMs?: number;
  /** So long after one was taken its place is filled: it is at work then, and not to be slowed down at its start. */
  refillAfterMs?: number;
};

/** Keeps a few sandboxes ready for a while. */
export function createSandboxPool<T extends Spare>(options: SandboxPoolOptions<T>): SandboxPool<T> {
  // Two of some 10 MiB: an agent often makes a second sandbox, hardly ever ten in one second.
  const { launch, size = 2, idleMs = 120_000, refillAfterMs = 30 } = options;
  const ready: T[] = [];
  let isClosed = false;
  let isFilling = false;
  let refill: NodeJS.Timeout | undefined;
  let idle: NodeJS.Timeout | undefined;

  const empty = () => {
    for (const sandbox of ready.splice(0)) void sandbox.destroy();
  };
  const fill = async () => {
    if (isFilling) return;
    isFilling = true;
    while (!isClosed && ready.length < size) {
      const sandbox = await launch().catch(() => undefined);
      // Whoever asks next hears why.
      if (sandbox === undefined) break;
      if (isClosed) void sandbox.destroy();
      else ready.push(sandbox);
      void sandbox.ended.then(() => {
        if (ready.includes(sandbox)) ready.splice(ready.indexOf(sandbox), 1);
      });
    }
    isFilling = false;
  };

  return {
    async take() {
      clearTimeout(refill);
      clearTimeout(idle);
      refill = setTimeout(fill, refillAfterMs).unref();
      idle = setTimeout(empty, idleMs).unref();
      return ready.shift() ?? launch();
    },
    close() {
      isClosed = true;
      clearTimeout(refill);
      clearTimeout(idle);
      empty();
    },
  };
}
