import { SandboxFailure } from '../contract/failures.ts';
import type { Verdict } from './classify.ts';

type Leaving = {
  /** Whether the attempt is on the wire; what still waits is refused by its lane instead. */
  isSent(): boolean;
  signal: AbortSignal;
  /** When the caller must have its answer, if the wire sets no limit itself. */
  leftMs?: number;
  onLeave?(): void;
  onOrphan?(verdict: Verdict): void;
};

/**
 * An attempt's verdict, unless its caller leaves first: then the attempt goes on by itself, and what it comes
 * to is handed to `onOrphan`.
 */
export async function unlessLeft(attempt: Promise<Verdict>, leaving: Leaving): Promise<Verdict> {
  const { isSent, signal, leftMs, onLeave, onOrphan } = leaving;
  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const left = new Promise<never>((_resolve, reject) => {
    const leave = (failure: SandboxFailure) => {
      if (!isSent()) return;
      reject(failure);
      onLeave?.();
      attempt.then(
        (verdict) => onOrphan?.(verdict),
        () => undefined,
      );
    };
    onAbort = () => leave(new SandboxFailure('CANCELLED', { outcome: 'unknown' }));
    signal.addEventListener('abort', onAbort, { once: true });
    if (leftMs === undefined) return;
    timer = setTimeout(leave, leftMs, new SandboxFailure('REQUEST_TIMEOUT', { outcome: 'unknown' }));
  });
  try {
    return await Promise.race([attempt, left]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}
