import { type ChildProcess, fork } from 'node:child_process';
import { z } from 'zod';
import { type Counts, counts, type LimitedHopxOptions } from './limited-hopx.ts';

export type LimitedHopx = { url: string; counts(): Promise<Counts> };

/** A process of its own in which any number of limited HopX APIs run. */
export type ServerProcess = { open(options: LimitedHopxOptions): Promise<LimitedHopx>; close(): void };

const opened = z.object({ url: z.string() });

export function startServerProcess(): ServerProcess {
  const child = fork(new URL('./limited-server.mjs', import.meta.url));
  let lastId = 0;
  const ask = (question: { open: LimitedHopxOptions } | { count: string }): Promise<unknown> => {
    lastId += 1;
    return answerTo(child, { id: lastId, ...question });
  };
  return {
    async open(options) {
      const { url } = opened.parse(await ask({ open: options }));
      return { url, counts: async () => counts.parse(await ask({ count: url })) };
    },
    close: () => child.disconnect(),
  };
}

const reply = z.object({ id: z.number(), answer: z.unknown() });

function answerTo(child: ChildProcess, question: { id: number }): Promise<unknown> {
  return new Promise((resolve) => {
    const hear = (message: unknown) => {
      const { id, answer } = reply.parse(message);
      if (id !== question.id) return;
      child.off('message', hear);
      resolve(answer);
    };
    child.setMaxListeners(0);
    child.on('message', hear);
    child.send(question);
  });
}
