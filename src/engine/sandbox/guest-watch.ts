import { type ExchangeDeps, fileFailure } from './exchange.ts';
import { endFailure } from './guest-session.ts';

export type FileChange = { path: string; event: 'created' | 'modified' | 'deleted' };

export type WatchOptions = {
  /** Ends the watch. */
  signal: AbortSignal;
  onChange(change: FileChange): void;
};

/** Hears of changes to the files below a path until the signal ends it. */
export function watchFiles(
  { session }: ExchangeDeps,
  id: string,
  path: string,
  { signal, onChange }: WatchOptions,
): Promise<void> {
  session.requireAlive();
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void) => {
      signal.removeEventListener('abort', stop);
      session.finish(id);
      finish();
    };
    // Changes that are on their way still belong to it, up to the answer.
    const stop = () => session.send({ op: 'unwatch', id });
    session.begin(id, {
      take(event) {
        switch (event.event) {
          case 'change':
            if (!signal.aborted) onChange({ path: event.path, event: event.change });
            return true;
          case 'done':
            settle(resolve);
            return true;
          case 'failed':
            settle(() => reject(fileFailure(event.code, path, event.message)));
            return true;
          default:
            return false;
        }
      },
      sandboxEnded: (reason) => settle(() => reject(endFailure(reason))),
    });
    session.send({ op: 'watch', id, path });
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
  });
}
