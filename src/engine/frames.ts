import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';

export type Frame = Readonly<Record<string, unknown>> & { readonly type: string };

export type Frames = {
  /** Resolves once the frame is on its way. */
  send(frame: Frame): Promise<void>;
  /** So many frames are not sent yet. */
  waiting(): number;
  /** Closes the socket after all that was sent. */
  end(): Promise<void>;
};

/** The JS SDK keeps one frame a turn of its event loop and loses the rest (@hopx-ai/sdk 0.5.1). */
const APART_MS = 5;

/** From so many waiting frames on, text of one kind goes together: a reader must not fall behind for long. */
const MAX_WAITING = 400;

/** Sends JSON frames one by one, each in a turn of its own. */
export function createFrames(socket: WebSocket): Frames {
  let waiting: { frame: Frame; sent: Promise<void> }[] = [];
  let last: Promise<void> = Promise.resolve();
  let lastMs = Number.NEGATIVE_INFINITY;

  async function sendFirst(): Promise<void> {
    const leftMs = lastMs + APART_MS - performance.now();
    if (leftMs > 0) await sleep(leftMs);
    const [first] = waiting;
    waiting = waiting.slice(1);
    if (first === undefined || socket.readyState !== socket.OPEN) return;
    lastMs = performance.now();
    await new Promise<void>((resolve) => socket.send(JSON.stringify(first.frame), () => resolve()));
  }

  return {
    send(frame) {
      if (waiting.length >= MAX_WAITING) {
        // Two streams may take turns.
        for (const late of waiting.slice(-2)) {
          const joined = join(late.frame, frame);
          if (joined === undefined) continue;
          late.frame = joined;
          return late.sent;
        }
      }
      const sent = last.then(sendFirst);
      waiting.push({ frame, sent });
      last = sent;
      return sent;
    },
    waiting: () => waiting.length,
    async end() {
      await last;
      socket.close(1000);
    },
  };
}

function join(one: Frame, other: Frame): Frame | undefined {
  const [first, second] = [one['data'], other['data']];
  if (one.type !== other.type || typeof first !== 'string' || typeof second !== 'string') return undefined;
  return { ...other, data: first + second };
}
