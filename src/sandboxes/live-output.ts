import { type Bounded, boundEnds, boundOutput } from './bounded-output.ts';

type Stream = 'stdout' | 'stderr';

/** What a run has printed so far. */
export type LiveOutput = {
  add(stream: Stream, text: string): void;
  /** What came so far, as head and tail; `mostChars` may be less than the limit. */
  shown(stream: Stream, mostChars?: number): Bounded;
  /** The last line that says anything, short enough for a progress message. */
  lastLine(): string;
  readonly isEmpty: boolean;
};

const MAX_LINE_CHARS = 120;

/** Keeps of a run's output what a model would be shown, however much comes. */
export function createLiveOutput(limitChars: number): LiveOutput {
  const kept = { stdout: { head: '', tail: '', dropped: 0 }, stderr: { head: '', tail: '', dropped: 0 } };
  let last: Stream = 'stdout';

  return {
    add(stream, text) {
      const output = kept[stream];
      last = stream;
      const room = limitChars - output.head.length;
      output.head += text.slice(0, room);
      output.tail += text.slice(room);
      // Cut only now and then: cutting at every piece would copy the tail each time.
      if (output.tail.length <= 2 * limitChars) return;
      output.dropped += output.tail.length - limitChars;
      output.tail = output.tail.slice(-limitChars);
    },
    shown(stream, mostChars = limitChars) {
      const { head, tail, dropped } = kept[stream];
      return dropped === 0 ? boundOutput(head + tail, mostChars) : boundEnds(head, tail, dropped, mostChars);
    },
    lastLine() {
      const { head, tail } = kept[last];
      const lines = (head + tail).slice(-2_000).split('\n');
      const line = lines.findLast((candidate) => candidate.trim() !== '') ?? '';
      return boundOutput(line.trim(), MAX_LINE_CHARS).shown.replaceAll('\n', ' ');
    },
    get isEmpty() {
      return kept.stdout.head === '' && kept.stderr.head === '';
    },
  };
}
