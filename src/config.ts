import { z } from 'zod';
import { isLoopback } from './contract/loopback.ts';
import { type LogLevel, logLevels } from './log.ts';

export type Config = {
  /** Which engine is behind the tools, and for the cloud how to reach it. */
  backend: { kind: 'local' } | { kind: 'hopx'; baseUrl: string; apiKey: string };
  sandboxTtlSeconds: number;
  keepSandboxesOnExit: boolean;
  callBudgetMs: number;
  outputLimitChars: number;
  maxConcurrency: number;
  /** What local sandboxes with internet access may reach; undefined: every public host. */
  localAllowedHosts: readonly string[] | undefined;
  logLevel: LogLevel;
};

/** Every problem found, each naming the variable and the fix. */
type ConfigProblem = { variable: string; problem: string };

const whole = (fallback: number, min: number, max: number) =>
  z
    .string()
    .optional()
    .transform((text, context) => {
      const value = text === undefined ? fallback : Number(text);
      if (Number.isInteger(value) && value >= min && value <= max) return value;
      context.addIssue(`must be a whole number from ${min} to ${max}, not "${text}"`);
      return z.NEVER;
    });

const choice = <const T extends readonly string[]>(choices: T, fallback: T[number]) =>
  z.enum(choices, { error: `must be one of ${choices.join(', ')}` }).default(fallback);

const baseUrl = z
  .string()
  .default('https://api.hopx.dev')
  .transform((text, context) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname)))
      return text.replace(/\/+$/, '');
    // The value is not repeated: it may hold a password.
    context.addIssue('must be an https:// URL, or http:// on loopback');
    return z.NEVER;
  });

const apiKey = z
  .string()
  .regex(/^[\x21-\x7e]{8,512}$/, 'must be a HopX API key (printable characters, no spaces)')
  .optional();

const hostPattern = /^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

const hosts = z
  .string()
  .optional()
  .transform((text, context) => {
    const names = text?.split(',').flatMap((name) => name.trim().toLowerCase() || []);
    const bad = names?.length === 0 ? text : names?.find((name) => !hostPattern.test(name));
    if (bad === undefined) return names;
    context.addIssue(
      `must be host names with commas between them, such as a.example.org,*.example.com; not "${bad}"`,
    );
    return z.NEVER;
  });

const variables = z.object({
  HOPX_API_KEY: apiKey,
  HOPX_BASE_URL: baseUrl,
  SANDBOX_BACKEND: choice(['auto', 'hopx', 'local'], 'auto'),
  SANDBOX_TTL_SECONDS: whole(1_800, 60, 86_400),
  SANDBOX_KEEP_ON_EXIT: choice(['true', 'false'], 'false'),
  CALL_BUDGET_SECONDS: whole(45, 5, 3_600),
  OUTPUT_LIMIT_CHARS: whole(20_000, 1_000, 100_000),
  HOPX_MAX_CONCURRENCY: whole(8, 1, 64),
  LOCAL_ALLOWED_HOSTS: hosts,
  LOG_LEVEL: choice(logLevels, 'info'),
});

/** Hosts hand on an unset `${VAR}` as its own text, and an empty field as an empty string. */
function isUnset(value: string | undefined): boolean {
  return value === undefined || value.trim() === '' || /^\$\{.*\}$/.test(value.trim());
}

/** Reads the environment once. With problems, `config` holds the defaults for what could not be read. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): {
  config: Config;
  problems: readonly ConfigProblem[];
} {
  const given = Object.fromEntries(
    Object.keys(variables.shape).flatMap((name) => (isUnset(env[name]) ? [] : [[name, env[name]?.trim()]])),
  );
  const parsed = variables.safeParse(given);
  const problems = (parsed.error?.issues ?? []).map((issue) => ({
    variable: String(issue.path[0]),
    problem: issue.message,
  }));
  const bad = new Set(problems.map(({ variable }) => variable));
  const readable = Object.fromEntries(Object.entries(given).filter(([name]) => !bad.has(name)));
  const values = parsed.data ?? variables.parse(readable);
  const { HOPX_API_KEY: key, SANDBOX_BACKEND: wanted } = values;
  if (wanted === 'hopx' && given['HOPX_API_KEY'] === undefined) {
    problems.push({ variable: 'HOPX_API_KEY', problem: 'must be set when SANDBOX_BACKEND is hopx' });
  }
  const isCloud = wanted !== 'local' && key !== undefined;
  const config: Config = {
    backend: isCloud ? { kind: 'hopx', baseUrl: values.HOPX_BASE_URL, apiKey: key } : { kind: 'local' },
    sandboxTtlSeconds: values.SANDBOX_TTL_SECONDS,
    keepSandboxesOnExit: values.SANDBOX_KEEP_ON_EXIT === 'true',
    callBudgetMs: values.CALL_BUDGET_SECONDS * 1_000,
    outputLimitChars: values.OUTPUT_LIMIT_CHARS,
    maxConcurrency: values.HOPX_MAX_CONCURRENCY,
    localAllowedHosts: values.LOCAL_ALLOWED_HOSTS,
    logLevel: values.LOG_LEVEL,
  };
  return { config: Object.freeze(config), problems };
}
