import { readdirSync, readFileSync } from 'node:fs';
import { z } from 'zod';

const host = z
  .object({
    mcpServers: z.object({ 'hopx-sandbox': z.object({ command: z.string(), args: z.array(z.string()) }) }),
  })
  .parse(JSON.parse(readFileSync('mcp.json', 'utf8'))).mcpServers['hopx-sandbox'];

/** What mcp.json tells a host to start, on the Node that runs the tests. */
export const builtServer = {
  command: host.command === 'node' ? process.execPath : host.command,
  args: host.args,
  /** The little that hosts pass on, and every line of the log. */
  env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', LOG_LEVEL: 'debug' },
};

let lastMark = 0;

/** An argument that tells a process of this test from all others of the machine; `sleep` takes it, too. */
export function newMark(): string {
  lastMark += 1;
  return `99999.${process.pid}${lastMark}`;
}

/** Processes of this machine, inside sandboxes too, that have `argument` on their command line. */
export function processesWith(argument: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument);
    } catch {
      return false;
    }
  });
}

/** Shorter than a test may take, so that nothing polls on after one that failed. */
const LONGEST_MS = 19_000;

/** Waits until `isSo`, and tells how long it took. */
export async function untilMs(isSo: () => boolean, everyMs = 5): Promise<number> {
  const startedMs = performance.now();
  while (!isSo()) {
    if (performance.now() - startedMs > LONGEST_MS) throw new Error(`waited ${LONGEST_MS} ms in vain`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  return performance.now() - startedMs;
}
