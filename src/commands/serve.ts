import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { SandboxFailure } from '../contract/failures.ts';
import { type EngineOptions, startEngine } from '../engine/engine.ts';
import { createLog } from '../log.ts';

const usage = `Usage: hopx-sandbox-mcp serve [--port N] [--quota N] [--errors live|documented]

Runs the embedded engine alone, as a HopX-compatible API on 127.0.0.1, until SIGINT or SIGTERM.
Prints one JSON line with its URL and key on stdout.

  --port N      port to listen on; default 0: any free one
  --quota N     sandboxes that may exist at once; default 10
  --errors HOW  how failing programs are told: live, as 200 with success:false (default),
                or documented, as HopX's error page says (500, and 408 for a timeout)
  --help        this text
`;

type Output = { write(text: string): unknown };

type ServeIo = {
  stdout: Output;
  stderr: Output;
  start: typeof startEngine;
  untilStopped(): Promise<unknown>;
};

const processIo: ServeIo = {
  stdout: process.stdout,
  stderr: process.stderr,
  start: startEngine,
  untilStopped: untilSignal,
};

/** Resolves at the first SIGINT or SIGTERM; a second one ends the process at once. */
export async function untilSignal(): Promise<void> {
  const stopListening = new AbortController();
  const { signal } = stopListening;
  await Promise.race([once(process, 'SIGINT', { signal }), once(process, 'SIGTERM', { signal })]);
  stopListening.abort();
}

/** The `serve` command; resolves with the exit code once it was told to stop and nothing of it is left. */
export async function runServe(args: readonly string[], io: ServeIo = processIo): Promise<number> {
  let options: ServeOptions;
  try {
    options = parseOptions(args);
  } catch (error) {
    io.stderr.write(`${error instanceof Error ? error.message : error}\n\n${usage}`);
    return 2;
  }
  if (options === 'help') {
    io.stdout.write(usage);
    return 0;
  }
  try {
    const stopped = io.untilStopped();
    const log = createLog({ level: 'warn', write: (line) => io.stderr.write(line) });
    const engine = await io.start({ ...options, log });
    io.stdout.write(`${JSON.stringify({ url: engine.baseUrl, api_key: engine.apiKey })}\n`);
    io.stderr.write(`HopX-compatible API at ${engine.baseUrl}\n${engine.isolation}\nCtrl-C stops it.\n`);
    await stopped;
    await engine.close();
    return 0;
  } catch (error) {
    if (!(error instanceof SandboxFailure)) throw error;
    io.stderr.write(`${error.message}\n${error.facts.remediation ?? ''}\n`);
    return 1;
  }
}

type ServeOptions = Pick<EngineOptions, 'listen' | 'maxSandboxes' | 'errors'> | 'help';

/** Throws with a sentence for the user where an argument is not valid. */
function parseOptions(args: readonly string[]): ServeOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string', default: '0' },
      quota: { type: 'string', default: '10' },
      errors: { type: 'string', default: 'live' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const { errors } = values;
  if (errors !== 'live' && errors !== 'documented') throw new Error('--errors must be live or documented');
  const port = wholeNumber('--port', values.port, 0, 65_535);
  return {
    listen: { kind: 'loopback', port },
    maxSandboxes: wholeNumber('--quota', values.quota, 1, 10_000),
    errors,
  };
}

function wholeNumber(flag: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new Error(`${flag} must be a whole number from ${min} to ${max}`);
}
