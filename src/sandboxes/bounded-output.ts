import { stripVTControlCharacters } from 'node:util';

/** What is shown of a text, and how long all of it is. */
export type Bounded = { shown: string; totalChars: number; isCut: boolean };

/** More of what came first: a program says early what it does, and at its end how it went. */
const HEAD_SHARE = 0.6;
/** Room for the mark, with a number of up to ten digits in it. */
const MARK_CHARS = 42;

/**
 * Text for a model: without terminal escapes, and when longer than `limitChars` its head and tail around a mark;
 * `headShare` of it is head.
 */
export function boundOutput(text: string, limitChars: number, headShare = HEAD_SHARE): Bounded {
  const plain = isBinary(text) ? describeBinary(Buffer.byteLength(text)) : stripVTControlCharacters(text);
  if (plain.length <= limitChars) return { shown: plain, totalChars: plain.length, isCut: false };
  const middle = Math.floor(plain.length * headShare);
  return cut(plain.slice(0, middle), plain.slice(middle), 0, limitChars, headShare);
}

/** The same for a text whose middle is gone already: `goneChars` between a head and a tail that fill the limit. */
export function boundEnds(head: string, tail: string, goneChars: number, limitChars: number): Bounded {
  if (!isBinary(head)) {
    return cut(stripVTControlCharacters(head), stripVTControlCharacters(tail), goneChars, limitChars);
  }
  const shown = describeBinary(Buffer.byteLength(head + tail) + goneChars);
  return { shown, totalChars: shown.length, isCut: false };
}

function cut(
  head: string,
  tail: string,
  goneChars: number,
  limitChars: number,
  headShare = HEAD_SHARE,
): Bounded {
  const keptChars = limitChars - MARK_CHARS;
  const headChars = Math.floor(keptChars * headShare);
  const first = wholeCharacters(head.slice(0, headChars));
  const last = wholeCharacters(tail.slice(headChars - keptChars));
  const totalChars = head.length + goneChars + tail.length;
  const leftOut = totalChars - first.length - last.length;
  return { shown: `${first}\n[… ${leftOut} characters left out …]\n${last}`, totalChars, isCut: true };
}

/** A surrogate whose other half was cut off is no character and breaks strict JSON readers. */
function wholeCharacters(text: string): string {
  const start = /^[\uDC00-\uDFFF]/.test(text) ? 1 : 0;
  const end = /[\uD800-\uDBFF]$/.test(text) ? text.length - 1 : text.length;
  return text.slice(start, end);
}

/** NUL never occurs in text, and a tenth of undecodable characters is no text either. */
function isBinary(text: string): boolean {
  const start = text.slice(0, 4_096);
  if (start.includes('\0')) return true;
  const undecodable = start.split('\uFFFD').length - 1;
  return undecodable > 3 && undecodable > start.length / 10;
}

function describeBinary(bytes: number): string {
  return `[binary output, about ${bytes} bytes; write it to a file in the sandbox and process it there]`;
}
