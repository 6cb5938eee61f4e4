import { describe, expect, test } from 'vitest';
import { type Config, readConfig } from '../src/config.ts';

const apiKey = 'hopx_live_abc.s3cret';
/** What a host hands on that knows no such variable. */
const unexpanded = (name: string) => `\${${name}}`;
const cloud = { kind: 'hopx', baseUrl: 'https://api.hopx.dev', apiKey } as const;
const defaults: Config = {
  backend: { kind: 'local' },
  sandboxTtlSeconds: 1_800,
  keepSandboxesOnExit: false,
  callBudgetMs: 45_000,
  outputLimitChars: 20_000,
  maxConcurrency: 8,
  localAllowedHosts: undefined,
  logLevel: 'info',
};

describe('an environment that is well', () => {
  const cases: readonly (readonly [says: string, env: Record<string, string>, Partial<Config>])[] = [
    ['nothing set', {}, {}],
    ['a key', { HOPX_API_KEY: apiKey }, { backend: cloud }],
    ['a key with blanks around it', { HOPX_API_KEY: ` ${apiKey}\n` }, { backend: cloud }],
    ['an empty key', { HOPX_API_KEY: '' }, {}],
    ['a blank key', { HOPX_API_KEY: '  ' }, {}],
    ['a key that the host did not expand', { HOPX_API_KEY: unexpanded('HOPX_API_KEY') }, {}],
    ['a default that the host did not expand', { LOG_LEVEL: unexpanded('LOG_LEVEL:-debug') }, {}],
    ['a key, but local asked for', { HOPX_API_KEY: apiKey, SANDBOX_BACKEND: 'local' }, {}],
    ['a key, and the cloud asked for', { HOPX_API_KEY: apiKey, SANDBOX_BACKEND: 'hopx' }, { backend: cloud }],
    [
      'an emulator on loopback',
      { HOPX_API_KEY: apiKey, HOPX_BASE_URL: 'http://127.0.0.1:8080/' },
      { backend: { ...cloud, baseUrl: 'http://127.0.0.1:8080' } },
    ],
    [
      'another API',
      { HOPX_API_KEY: apiKey, HOPX_BASE_URL: 'https://hopx.example/api//' },
      { backend: { ...cloud, baseUrl: 'https://hopx.example/api' } },
    ],
    ['a lifetime', { SANDBOX_TTL_SECONDS: '60' }, { sandboxTtlSeconds: 60 }],
    ['sandboxes to keep', { SANDBOX_KEEP_ON_EXIT: 'true' }, { keepSandboxesOnExit: true }],
    ['a budget', { CALL_BUDGET_SECONDS: '5' }, { callBudgetMs: 5_000 }],
    ['an output limit', { OUTPUT_LIMIT_CHARS: '1000' }, { outputLimitChars: 1_000 }],
    ['a concurrency', { HOPX_MAX_CONCURRENCY: '64' }, { maxConcurrency: 64 }],
    [
      'hosts',
      { LOCAL_ALLOWED_HOSTS: 'a.example, *.B.example,' },
      { localAllowedHosts: ['a.example', '*.b.example'] },
    ],
    ['a log level', { LOG_LEVEL: 'silent' }, { logLevel: 'silent' }],
  ];
  test.each(cases)('%s', (_says, env, differs) => {
    expect(readConfig(env)).toEqual({ config: { ...defaults, ...differs }, problems: [] });
  });
});

describe('an environment with a problem', () => {
  const cases: readonly (readonly [variable: string, value: string, problem: RegExp])[] = [
    ['HOPX_API_KEY', 'short', /printable characters, no spaces/],
    ['HOPX_API_KEY', 'two words here', /printable characters, no spaces/],
    ['HOPX_BASE_URL', 'api.hopx.dev', /https:\/\/ URL/],
    ['HOPX_BASE_URL', 'http://api.hopx.dev', /https:\/\/ URL/],
    ['HOPX_BASE_URL', 'http://localhost.evil.example', /https:\/\/ URL/],
    ['HOPX_BASE_URL', 'ftp://localhost', /https:\/\/ URL/],
    ['SANDBOX_BACKEND', 'docker', /one of auto, hopx, local/],
    ['SANDBOX_BACKEND', 'hopx', /must be set when SANDBOX_BACKEND is hopx/],
    ['SANDBOX_TTL_SECONDS', '59', /whole number from 60 to 86400/],
    ['SANDBOX_TTL_SECONDS', '86401', /whole number from 60 to 86400/],
    ['SANDBOX_TTL_SECONDS', '1.5e2.1', /whole number/],
    ['SANDBOX_KEEP_ON_EXIT', 'yes', /one of true, false/],
    ['CALL_BUDGET_SECONDS', '4', /whole number from 5 to 3600/],
    ['OUTPUT_LIMIT_CHARS', '999', /whole number from 1000 to 100000/],
    ['LOCAL_ALLOWED_HOSTS', 'https://a.example', /host names with commas.*not "https:/],
    ['LOCAL_ALLOWED_HOSTS', 'a.example,*', /not "\*"/],
    ['LOCAL_ALLOWED_HOSTS', ' , ', /host names with commas.*not ","/],
    ['HOPX_MAX_CONCURRENCY', '0', /whole number from 1 to 64/],
    ['LOG_LEVEL', 'loud', /one of debug, info, warn, error, silent/],
  ];
  test.each(cases)('%s=%s', (variable, value, problem) => {
    const { config, problems } = readConfig({ [variable]: value });
    const named = problem.source.startsWith('must be set') ? 'HOPX_API_KEY' : variable;
    expect(problems).toEqual([{ variable: named, problem: expect.stringMatching(problem) }]);
    expect(config).toEqual(defaults);
  });

  test('all of them at once', () => {
    const { problems } = readConfig({
      LOG_LEVEL: 'x',
      SANDBOX_BACKEND: 'hopx',
      HOPX_BASE_URL: 'x',
      CALL_BUDGET_SECONDS: 'x',
    });
    expect(problems.map(({ variable }) => variable).sort()).toEqual([
      'CALL_BUDGET_SECONDS',
      'HOPX_API_KEY',
      'HOPX_BASE_URL',
      'LOG_LEVEL',
    ]);
  });

  test('takes nothing from what could be read', () => {
    const { config } = readConfig({ HOPX_API_KEY: apiKey, LOG_LEVEL: 'debug', CALL_BUDGET_SECONDS: 'x' });
    expect(config).toEqual({ ...defaults, backend: cloud, logLevel: 'debug' });
  });

  test.each([
    ['HOPX_API_KEY', 'my secret key'],
    ['HOPX_BASE_URL', 'http://user:my%20secret@hopx.example'],
    ['SANDBOX_BACKEND', 'my secret key'],
    ['LOG_LEVEL', 'my secret key'],
  ])('does not repeat what %s may hold', (variable, value) => {
    expect(JSON.stringify(readConfig({ [variable]: value }).problems)).not.toMatch(/secret/);
  });
});

test('the configuration cannot be changed', () => {
  expect(Object.isFrozen(readConfig({}).config)).toBe(true);
});
