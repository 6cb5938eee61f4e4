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
      finish();
    };
    // Changes that are on their way still belong to it.
    const stop = () => {
      session.send({ op: 'unwatch', id });
      settle(resolve);
    };
    session.begin(id, {
      take(event) {
        if (event.event === 'failed') settle(() => reject(fileFailure(event.code, path, event.message)));
        if (event.event === 'change' && !signal.aborted) onChange({ path: event.path, event: event.change });
        return ['done', 'change', 'failed'].includes(event.event);
      },
      sandboxEnded: (reason) => settle(() => reject(endFailure(reason))),
    });
    session.send({ op: 'watch', id, path });
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
  });
}
