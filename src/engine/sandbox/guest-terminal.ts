import { SandboxFailure } from '../../contract/failures.ts';
import type { ExchangeDeps } from './exchange.ts';
import { endFailure, quoted } from './guest-session.ts';

export type TerminalOptions = {
  env: Readonly<Record<string, string>>;
  /** Hangs up. */
  signal: AbortSignal;
  /** Hears what the terminal shows; no more than a few pieces come before earlier ones are taken. */
  onOutput(text: string): Promise<void>;
};

export type Terminal = {
  /** Types. */
  write(text: string): void;
  resize(columns: number, rows: number): void;
  /** Resolves with the shell's exit code. */
  ended: Promise<number>;
};

/** The usual default size. */
const COLUMNS = 80;
const ROWS = 24;

/** The agent waits after 4, and sends up to 4 more when the shell ends. */
const MAX_PIECES_AHEAD = 8;

/** Opens a shell on a pseudo-terminal in the sandbox. */
export function openTerminal({ session }: ExchangeDeps, id: string, options: TerminalOptions): Terminal {
  session.requireAlive();
  const { env, signal, onOutput } = options;
  let piecesAhead = 0;
  const hangUp = () => session.send({ op: 'kill', id });
  const ended = new Promise<number>((resolve, reject) => {
    const settle = (finish: () => void) => {
      signal.removeEventListener('abort', hangUp);
      session.finish(id);
      finish();
    };
    session.begin(id, {
      take(event) {
        switch (event.event) {
          case 'output':
            piecesAhead += 1;
            void onOutput(event.text).finally(() => {
              piecesAhead -= 1;
              session.send({ op: 'more', id });
            });
            return piecesAhead <= MAX_PIECES_AHEAD;
          case 'exit':
            settle(() => resolve(event.code));
            return true;
          case 'failed':
            settle(() => reject(new SandboxFailure(event.code, { message: quoted(event.message) })));
            return true;
          default:
            return false;
        }
      },
      sandboxEnded: (reason) => settle(() => reject(endFailure(reason))),
    });
  });
  session.send({ op: 'terminal', id, env, columns: COLUMNS, rows: ROWS });
  signal.addEventListener('abort', hangUp);
  if (signal.aborted) hangUp();
  return {
    write: (text) => session.send({ op: 'input', id, text }),
    resize: (columns, rows) => session.send({ op: 'resize', id, columns, rows }),
    ended,
  };
}
