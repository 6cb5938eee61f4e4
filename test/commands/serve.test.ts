import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runServe, untilSignal } from '../../src/commands/serve.ts';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { type EngineOptions, startEngine } from '../../src/engine/engine.ts';
import { scriptedLauncher, withResolvers } from '../engine/scripted-launcher.ts';

type Setting = { launcher?: EngineOptions['launcher']; env?: Record<string, string> };

/** Runs the command with its output caught, over sandboxes that are a script. */
function serve(
  args: readonly string[],
  { launcher = async () => scriptedLauncher(), env = {} }: Setting = {},
) {
  const written = { stdout: '', stderr: '' };
  const started: EngineOptions[] = [];
  const { promise: stopped, resolve: stop } = withResolvers<void>();
  const exitCode = runServe(args, {
    stdout: { write: (text) => (written.stdout += text) },
    stderr: { write: (text) => (written.stderr += text) },
    env,
    start(options) {
      started.push(options);
      return startEngine({ ...options, launcher });
    },
    untilStopped: () => stopped,
  });
  return { written, started, stop, exitCode };
}

test('prints one JSON line with the URL and the key, and serves until it is stopped', async () => {
  const { written, stop, exitCode } = serve(['--quota', '1', '--errors', 'documented']);
  await expect.poll(() => written.stdout).toMatch(/\n$/);
  const { url, api_key: key, ...rest } = JSON.parse(written.stdout);
  expect(rest).toEqual({});
  expect(written.stdout.trim()).not.toContain('\n');
  expect(written.stderr).toContain(url);
  expect(written.stderr).not.toContain(key);

  const create = () =>
    fetch(`${url}/v1/sandboxes`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}` },
      body: JSON.stringify({ template_id: 'code-interpreter' }),
    });
  expect((await create()).status).toBe(201);
  expect((await create()).status).toBe(429);

  stop();
  expect(await exitCode).toBe(0);
  await expect(fetch(`${url}/health`)).rejects.toThrow('fetch failed');
});

test.each([
  [['--port', '70000'], '--port must be a whole number from 0 to 65535'],
  [['--port', 'http'], '--port must be a whole number from 0 to 65535'],
  [['--quota', '0'], '--quota must be a whole number from 1 to 10000'],
  [['--quota', '1.5'], '--quota must be a whole number from 1 to 10000'],
  [['--errors', 'loud'], '--errors must be live or documented'],
  [
    ['--rate-limits', '100/300'],
    '--rate-limits must be hopx, or three whole numbers from 1 on, such as 100/300/20',
  ],
  [['--rate-limits', '100/0/20'], '--rate-limits must be hopx, or three whole numbers from 1 on'],
  [['--faults', '/nowhere.json'], '--faults /nowhere.json: ENOENT'],
  [['--faults', 'LICENSE'], '--faults LICENSE: '],
  [['--faults', 'package.json'], '--faults package.json is not valid:'],
  [['--verbose'], "Unknown option '--verbose'"],
  [['now'], "Unexpected argument 'now'"],
])('%j ends with 2 and says why', async (args, why) => {
  const { written, exitCode } = serve(args);
  expect(await exitCode).toBe(2);
  expect(written.stdout).toBe('');
  expect(written.stderr).toContain(why);
  expect(written.stderr).toContain('Usage:');
});

test('--help ends with 0', async () => {
  const { written, exitCode } = serve(['--help']);
  expect(await exitCode).toBe(0);
  expect(written.stdout).toContain('Usage: node dist/main.js serve');
});

test.each([
  ['the failure says it', { remediation: 'Ask the user to install it.' }, /^No bwrap\.\nInstall it\.\n$/],
  ['the catalogue does', {}, /^No bwrap\.\nRun `node dist\/main\.js doctor --fix`.*\n$/],
] as const)(
  'a machine that cannot run sandboxes ends it with 1 and the way to mend that: %s',
  async (_, facts, says) => {
    const failure = new SandboxFailure('ENGINE_UNAVAILABLE', { message: 'No bwrap.', ...facts });
    const { written, exitCode } = serve([], { launcher: () => Promise.reject(failure) });
    expect(await exitCode).toBe(1);
    expect(written).toEqual({ stdout: '', stderr: expect.stringMatching(says) });
  },
);

test.each([
  { given: 'a.example, *.B.example', allowed: ['a.example', '*.b.example'] },
  { given: '', allowed: undefined },
])('LOCAL_ALLOWED_HOSTS "$given" lets sandboxes reach $allowed', async ({ given, allowed }) => {
  const { written, started, stop, exitCode } = serve([], { env: { LOCAL_ALLOWED_HOSTS: given } });
  await expect.poll(() => written.stdout).toMatch(/\n$/);
  expect(started.map(({ allowedHosts }) => allowedHosts)).toEqual([allowed]);
  stop();
  expect(await exitCode).toBe(0);
});

test('a LOCAL_ALLOWED_HOSTS that cannot be read ends with 2; what concerns only the MCP server does not', async () => {
  const env = { LOCAL_ALLOWED_HOSTS: '*', CALL_BUDGET_SECONDS: 'soon' };
  const { written, started, exitCode } = serve([], { env });
  expect(await exitCode).toBe(2);
  expect(written.stderr).toMatch(/^LOCAL_ALLOWED_HOSTS must be host names.*not "\*"\n\nUsage:/);
  expect(written.stderr).not.toContain('CALL_BUDGET_SECONDS');
  expect(started).toEqual([]);
});

test('--rate-limits and --faults do what they say', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'hopx-serve-'));
  const file = join(folder, 'faults.json');
  const fault = { route: 'GET /v1/templates', action: 'reply', status: 402, code: 'PAYMENT_REQUIRED' };
  writeFileSync(file, JSON.stringify({ faults: [fault] }));
  const { written, stop, exitCode } = serve(['--rate-limits', 'hopx', '--faults', file]);
  await expect.poll(() => written.stdout).toMatch(/\n$/);
  const { url, api_key: key } = JSON.parse(written.stdout);
  const response = await fetch(`${url}/v1/templates`, { headers: { 'x-api-key': key } });
  expect([response.status, response.headers.get('x-ratelimit-limit')]).toEqual([402, '100']);
  stop();
  await exitCode;
  rmSync(folder, { recursive: true });
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s stops it, and both have their old meaning again',
  async (signal) => {
    const listeners = () => [process.listenerCount('SIGINT'), process.listenerCount('SIGTERM')];
    const before = listeners();
    const stopped = untilSignal();
    process.emit(signal);
    await stopped;
    expect(listeners()).toEqual(before);
  },
);
