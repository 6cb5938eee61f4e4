import type { LocalSandbox } from './local-sandbox.ts';

type Spare = Pick<LocalSandbox, 'destroy' | 'ended'>;

export type SandboxPool<T> = {
  /** A sandbox that nobody used, at once if one is kept ready. */
  take(): Promise<T>;
  /** Resolves once what is kept ready is destroyed. */
  close(): Promise<void>;
};

type SandboxPoolOptions<T> = {
  launch(): Promise<T>;
  /** Spares that are kept once a first sandbox was taken, as most servers are started and never used. */
  size?: number;
  /** How long they are kept after the last `take`. */
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
  let filling: Promise<void> | undefined;
  let refill: NodeJS.Timeout | undefined;
  let idle: NodeJS.Timeout | undefined;

  const empty = () => Promise.all(ready.splice(0).map((sandbox) => sandbox.destroy()));
  const fillUp = async () => {
    while (!isClosed && ready.length < size) {
      const sandbox = await launch().catch(() => undefined);
      // Whoever asks next hears why.
      if (sandbox === undefined) break;
      if (isClosed) await sandbox.destroy();
      else ready.push(sandbox);
      void sandbox.ended.then(() => {
        if (ready.includes(sandbox)) ready.splice(ready.indexOf(sandbox), 1);
      });
    }
  };
  const fill = () => {
    filling ??= fillUp().finally(() => {
      filling = undefined;
    });
  };

  return {
    async take() {
      clearTimeout(refill);
      clearTimeout(idle);
      refill = setTimeout(fill, refillAfterMs).unref();
      idle = setTimeout(() => void empty(), idleMs).unref();
      return ready.shift() ?? launch();
    },
    async close() {
      isClosed = true;
      clearTimeout(refill);
      clearTimeout(idle);
      await Promise.all([empty(), filling]);
    },
  };
}
