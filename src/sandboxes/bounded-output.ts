import { stripVTControlCharacters } from 'node:util';

export type Bounded = { shown: string; totalChars: number; isCut: boolean };

/** More of what came first: a program says early what it does, and at its end how it went. */
const HEAD_SHARE = 0.6;
/** Room for the mark, with a number of up to ten digits in it. */
const MARK_CHARS = 42;

/** Text for a model: without terminal escapes, and when longer than `limitChars` its head and tail around a mark. */
export function boundOutput(text: string, limitChars: number): Bounded {
  const plain = isBinary(text) ? describeBinary(text) : stripVTControlCharacters(text);
  if (plain.length <= limitChars) return { shown: plain, totalChars: plain.length, isCut: false };
  const kept = limitChars - MARK_CHARS;
  const headChars = Math.floor(kept * HEAD_SHARE);
  const head = wholeCharacters(plain.slice(0, headChars));
  const tail = wholeCharacters(plain.slice(headChars - kept));
  const leftOut = plain.length - head.length - tail.length;
  const shown = `${head}\n[… ${leftOut} characters left out …]\n${tail}`;
  return { shown, totalChars: plain.length, isCut: true };
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

function describeBinary(text: string): string {
  return `[binary output, about ${Buffer.byteLength(text)} bytes; write it to a file in the sandbox and process it there]`;
}
