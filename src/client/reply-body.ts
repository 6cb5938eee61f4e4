/** Reads a reply as it comes; `add` says whether there is still room for it. */
export type ReplyBody = { add(chunk: Buffer): boolean; end(): unknown };

/** What a streamed run says on the way: a piece of its output. */
export type OnEvent = (event: unknown) => void;

/** JSON, a file's bytes, or newline-delimited JSON whose last line of the type `result` is the body. */
export function createReplyBody(contentType: string, maxBytes: number, onEvent: OnEvent): ReplyBody {
  if (contentType.startsWith('application/x-ndjson')) return readLines(maxBytes, onEvent);
  return readWhole(
    maxBytes,
    contentType.startsWith('application/octet-stream') ? (bytes) => bytes : parseJson,
  );
}

function readWhole(maxBytes: number, parse: (bytes: Buffer) => unknown): ReplyBody {
  const chunks: Buffer[] = [];
  let bytes = 0;
  return {
    add(chunk) {
      bytes += chunk.length;
      if (bytes > maxBytes) return false;
      chunks.push(chunk);
      return true;
    },
    // Most replies come in one piece, which need not be copied.
    end: () =>
      parse(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, bytes)),
  };
}

function readLines(maxBytes: number, onEvent: OnEvent): ReplyBody {
  let line: Buffer[] = [];
  let bytes = 0;
  let result: unknown;

  const take = () => {
    const event = parseJson(Buffer.concat(line, bytes));
    line = [];
    bytes = 0;
    if (isResult(event)) result = event;
    else if (event !== undefined) onEvent(event);
  };

  return {
    add(chunk) {
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
        line.push(chunk.subarray(from, end));
        bytes += end - from;
        from = end + 1;
        take();
      }
      line.push(chunk.subarray(from));
      bytes += chunk.length - from;
      return bytes <= maxBytes;
    },
    end() {
      if (bytes > 0) take();
      return result;
    },
  };
}

function isResult(event: unknown): boolean {
  return typeof event === 'object' && event !== null && 'type' in event && event.type === 'result';
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
