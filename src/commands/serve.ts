import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { readConfig } from '../config.ts';
import { SandboxFailure } from '../contract/failures.ts';
import { HOPX_RATES_PER_MINUTE } from '../contract/hopx.ts';
import { DEFAULT_MAX_SANDBOXES, type EngineOptions, startEngine } from '../engine/engine.ts';
import { type FaultFile, faultFile } from '../engine/faults.ts';
import type { RateFigures } from '../engine/rate-limits.ts';
import { createLog } from '../log.ts';
import { remedyFor } from './remedy.ts';

const usage = `Usage: node dist/main.js serve [options]

Runs the embedded engine alone, as a HopX-compatible API on 127.0.0.1, until SIGINT or SIGTERM.
Prints one JSON line with its URL and key on stdout.

  --port N      port to listen on; default 0: any free one
  --quota N     sandboxes that may exist at once; default ${DEFAULT_MAX_SANDBOXES}
  --errors HOW  how failing programs are told: live, as 200 with success:false (default),
                or documented, as HopX's error page says (500, and 408 for a timeout)
  --rate-limits hopx|C/A/N
                requests a minute to the control plane, to a sandbox, and creations;
                hopx is 100/300/20, and without this nothing is limited
  --faults FILE makes requests fail as the JSON file says; its format is in the README
  --help        this text

LOCAL_ALLOWED_HOSTS in the environment is what sandboxes with internet access may reach.
`;

type Output = { write(text: string): unknown };

type ServeIo = {
  env: Readonly<Record<string, string | undefined>>;
  stdout: Output;
  stderr: Output;
  start: typeof startEngine;
  untilStopped(): Promise<unknown>;
};

const processIo: ServeIo = {
  env: process.env,
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
    options = await parseOptions(args, io.env);
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
    io.stderr.write(`${error.message}\n${remedyFor(error)}\n`);
    return 1;
  }
}

type ServeOptions =
  | Pick<EngineOptions, 'listen' | 'maxSandboxes' | 'errors' | 'rates' | 'faults' | 'allowedHosts'>
  | 'help';

/** Throws with a sentence for the user where an argument or the variable is not valid. */
async function parseOptions(args: readonly string[], env: ServeIo['env']): Promise<ServeOptions> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      port: { type: 'string', default: '0' },
      quota: { type: 'string', default: String(DEFAULT_MAX_SANDBOXES) },
      errors: { type: 'string', default: 'live' },
      'rate-limits': { type: 'string' },
      faults: { type: 'string' },
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
    rates: parseRates(values['rate-limits']),
    faults: values.faults === undefined ? undefined : await readFaults(values.faults),
    allowedHosts: readAllowedHosts(env),
  };
}

/** The one variable that concerns the engine; a bad one would otherwise leave every host open. */
function readAllowedHosts(env: ServeIo['env']): readonly string[] | undefined {
  const { config, problems } = readConfig(env);
  const bad = problems.find(({ variable }) => variable === 'LOCAL_ALLOWED_HOSTS');
  if (bad !== undefined) throw new Error(`${bad.variable} ${bad.problem}`);
  return config.localAllowedHosts;
}

function parseRates(text: string | undefined): RateFigures | undefined {
  if (text === undefined) return undefined;
  if (text === 'hopx') return HOPX_RATES_PER_MINUTE;
  const [, control, agent, create] = /^([1-9]\d*)\/([1-9]\d*)\/([1-9]\d*)$/.exec(text) ?? [];
  if (create === undefined)
    throw new Error('--rate-limits must be hopx, or three whole numbers from 1 on, such as 100/300/20');
  return { control: Number(control), agent: Number(agent), create: Number(create) };
}

async function readFaults(file: string): Promise<FaultFile> {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new Error(`--faults ${file}: ${error instanceof Error ? error.message : error}`);
  }
  const parsed = faultFile.safeParse(content, { reportInput: true });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => `  ${path.join('.')}: ${message}`);
  throw new Error(`--faults ${file} is not valid:\n${problems.join('\n')}`);
}

function wholeNumber(flag: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new Error(`${flag} must be a whole number from ${min} to ${max}`);
}
