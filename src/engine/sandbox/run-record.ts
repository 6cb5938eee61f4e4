import type { GuestEvent } from './guest-events.ts';
import type { Limits } from './limits.ts';
import type { OutputStream, RunOutput } from './run.ts';

/** An image or rich text in base64 or characters, as the agent caps it. */
const MAX_RICH_CHARS = 6 * 1024 * 1024;
/** Head, tail and rich output, one character an event at the worst, stay well below this. */
const MAX_RUN_BYTES = 256 * 1024 * 1024;

type Cut = { leftOutChars: number; path: string | undefined };
type StreamRecord = { text: string[]; chars: number; headChars: number; cut?: Cut };

export type RunRecord = {
  /** False if the agent would not have sent this. */
  take(event: Extract<GuestEvent, { event: 'output' | 'cut' | 'rich' }>, lineBytes: number): boolean;
  output(): RunOutput;
};

/** Gathers a run's output, bounded whatever arrives; what `onOutput` hears adds up to `stdout` and `stderr`. */
export function createRunRecord(
  limits: Pick<Limits, 'headChars' | 'tailChars'>,
  onOutput: (stream: OutputStream, text: string) => void,
): RunRecord {
  const streams: Record<OutputStream, StreamRecord> = {
    stdout: { text: [], chars: 0, headChars: 0 },
    stderr: { text: [], chars: 0, headChars: 0 },
  };
  const rich = new Map<string, string>();
  let bytes = 0;

  const append = (stream: OutputStream, text: string) => {
    streams[stream].text.push(text);
    onOutput(stream, text);
  };
  const takeOutput = (stream: OutputStream, text: string) => {
    const record = streams[stream];
    record.chars += text.length;
    append(stream, text);
    // JavaScript counts a character outside the first plane as two, Python as one.
    return record.chars <= 2 * (limits.headChars + (record.cut === undefined ? 0 : limits.tailChars));
  };
  const takeCut = (stream: OutputStream, cut: Cut) => {
    const record = streams[stream];
    if (record.cut !== undefined) return false;
    record.cut = cut;
    if (cut.leftOutChars > 0) append(stream, `\n… [${cut.leftOutChars} characters left out] …\n`);
    return true;
  };
  const takeRich = (kind: string, text: string) => {
    const whole = (rich.get(kind) ?? '') + text;
    rich.set(kind, whole);
    return whole.length <= MAX_RICH_CHARS;
  };

  return {
    take(event, lineBytes) {
      bytes += lineBytes;
      if (bytes > MAX_RUN_BYTES) return false;
      if (event.event === 'output') return takeOutput(event.stream, event.text);
      if (event.event === 'cut')
        return takeCut(event.stream, { leftOutChars: event.leftOutChars, path: event.path });
      return takeRich(event.kind, event.text);
    },
    output() {
      const { json, ...texts } = Object.fromEntries(rich);
      return {
        stdout: streams.stdout.text.join(''),
        stderr: streams.stderr.text.join(''),
        ...texts,
        ...(json !== undefined && { json: parseJson(json) }),
        truncated: (['stdout', 'stderr'] as const).flatMap((stream) => {
          const { chars, cut } = streams[stream];
          if (cut === undefined || cut.leftOutChars === 0) return [];
          const totalChars = chars + cut.leftOutChars;
          return [{ stream, totalChars, ...(cut.path !== undefined && { fullOutputPath: cut.path }) }];
        }),
      };
    },
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
