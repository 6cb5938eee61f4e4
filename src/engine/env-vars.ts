import { invalidRequest } from './engine-failure.ts';

export type EnvVars = {
  all(): Readonly<Record<string, string>>;
  /** As replies show it: without the values that look secret by their name. */
  masked(): Readonly<Record<string, string>>;
  replace(vars: Readonly<Record<string, string>>): void;
  merge(vars: Readonly<Record<string, string>>): void;
};

const secretName = /KEY|SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|PRIVATE/i;

/** Linux takes at most 128 KiB for one `NAME=value` with its end (MAX_ARG_STRLEN). */
const MAX_VARIABLE_BYTES = 128 * 1024 - 1;

/** Linux takes 2 MiB for all variables and arguments of a program at the usual stack size; half is left to others. */
const MAX_TOTAL_BYTES = 1024 * 1024;

/** The environment of one sandbox: what it was created with, then what `/env` made of it. */
export function createEnvVars(initial: Readonly<Record<string, string>>): EnvVars {
  let vars = checkedEnv(initial);
  return {
    all: () => vars,
    masked: () =>
      Object.fromEntries(
        Object.entries(vars).map(([name, value]) => [name, secretName.test(name) ? '***MASKED***' : value]),
      ),
    replace(next) {
      vars = checkedEnv(next);
    },
    merge(more) {
      vars = checkedEnv({ ...vars, ...more });
    },
  };
}

/** The same variables, or `INVALID_REQUEST` naming the one that no program could be given. */
export function checkedEnv(vars: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  let totalBytes = 0;
  for (const [name, value] of Object.entries(vars)) {
    const shown = `environment variable ${JSON.stringify(name.slice(0, 80))}`;
    if (!/^[^=\0]+$/.test(name))
      throw invalidRequest(`${shown} has a name that is empty, or has = or NUL in it`);
    if (value.includes('\0')) throw invalidRequest(`${shown} has a NUL byte in its value`);
    const bytes = Buffer.byteLength(name) + 1 + Buffer.byteLength(value);
    if (bytes > MAX_VARIABLE_BYTES) throw invalidRequest(`${shown} is over 128 KiB`);
    totalBytes += bytes;
  }
  if (totalBytes > MAX_TOTAL_BYTES) throw invalidRequest('the environment variables are over 1 MiB together');
  return { ...vars };
}
