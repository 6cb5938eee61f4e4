import { once } from 'node:events';
import { existsSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { expect, test, vi } from 'vitest';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { startEngine } from '../../src/engine/engine.ts';
import { createLog, silentLog } from '../../src/log.ts';
import { startScriptedEngine } from './scripted-engine.ts';
import { scriptedLauncher, withResolvers } from './scripted-launcher.ts';

test('a socket engine listens in a directory that only this user can enter, and nowhere else', async () => {
  const { engine, api, stop } = await startScriptedEngine();
  const { socketPath = '' } = engine;
  expect(engine.baseUrl).toBe('http://localhost');
  expect(statSync(dirname(socketPath)).mode & 0o777).toBe(0o700);
  expect(await api.call('GET /health')).toMatchObject({ status: 200 });
  await stop();
  expect(existsSync(dirname(socketPath))).toBe(false);
});

test('a loopback engine listens on 127.0.0.1, and says where its sandboxes are', async () => {
  const { engine, api, stop } = await startScriptedEngine({}, { listen: { kind: 'loopback', port: 0 } });
  expect(engine.baseUrl).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(engine).not.toHaveProperty('socketPath');
  const { body } = await api.call('POST /v1/sandboxes', { json: { template_name: 'base' } });
  expect(body['public_host']).toBe(`${engine.baseUrl}/vms/${body['id']}`);
  await stop();
});

test('a port that is taken is an ENGINE_UNAVAILABLE that names it, and nothing stays open', async () => {
  const { engine, stop } = await startScriptedEngine({}, { listen: { kind: 'loopback', port: 0 } });
  const port = Number(new URL(engine.baseUrl).port);
  const launcher = scriptedLauncher();
  const second = startEngine({
    listen: { kind: 'loopback', port },
    log: silentLog,
    launcher: async () => launcher,
  });
  await expect(second).rejects.toMatchObject({
    code: 'ENGINE_UNAVAILABLE',
    message: `Port ${port} of 127.0.0.1 is not free.`,
  });
  expect(launcher.isClosed).toBe(true);
  await stop();
});

test('what the launcher says of a machine that cannot run sandboxes is what the caller hears', async () => {
  const failure = new SandboxFailure('ENGINE_UNAVAILABLE', {
    remediation: 'sudo apt-get install bubblewrap',
  });
  const launcher = () => Promise.reject(failure);
  await expect(startEngine({ listen: { kind: 'socket' }, log: silentLog, launcher })).rejects.toBe(failure);
});

test('the key has the documented format and differs from engine to engine', async () => {
  const [one, other] = [await startScriptedEngine(), await startScriptedEngine()];
  expect(one.engine.apiKey).toMatch(/^hopx_live_[A-Za-z0-9]{12}\.[A-Za-z0-9_-]{43}$/);
  expect(other.engine.apiKey).not.toBe(one.engine.apiKey);
  expect(await other.api.call('GET /v1/sandboxes', { key: one.engine.apiKey })).toMatchObject({
    status: 401,
  });
  await Promise.all([one.stop(), other.stop()]);
});

test("a sandbox's token is good at its own engine only", async () => {
  const [one, other] = [await startScriptedEngine(), await startScriptedEngine()];
  const { token } = await one.api.createSandbox();
  expect(await other.api.call('GET /env', { token })).toMatchObject({
    status: 401,
    body: { code: 'INVALID_TOKEN' },
  });
  await Promise.all([one.stop(), other.stop()]);
});

test('close destroys the sandboxes, stops their timers, cuts connections, and may be called again', async () => {
  const { engine, api, clock, launcher } = await startScriptedEngine();
  await api.createSandbox({ timeout_seconds: 60 });
  await api.createSandbox();
  const idle = connect(engine.socketPath ?? '');
  await once(idle, 'connect');
  const cut = once(idle, 'close');
  await Promise.all([engine.close(), engine.close()]);
  await engine.close();
  await cut;
  expect(launcher.sandboxes.map(({ isDestroyed }) => isDestroyed)).toEqual([true, true]);
  expect(clock.pending()).toBe(0);
  expect(launcher.isClosed).toBe(true);
  await api.close();
});

test('close during a run ends the run', async () => {
  const hang = withResolvers<object>();
  const { engine, api, launcher } = await startScriptedEngine({ run: () => hang.promise });
  const { host, token } = await api.createSandbox();
  const run = api.call(`POST ${host}/execute`, { token, json: { code: 'c' } });
  run.catch(() => {});
  await expect.poll(() => launcher.sandboxes[0]?.runs.length).toBe(1);
  await engine.close();
  await expect(run).rejects.toThrow();
  await api.close();
});

test('a creation whose caller goes away is completed, listed, and ends with its lifetime', async () => {
  const launched = withResolvers<void>();
  const { api, clock, launcher, stop } = await startScriptedEngine({ launching: () => launched.promise });
  const caller = new AbortController();
  const json = { template_id: '73', timeout_seconds: 60 };
  const creation = api.call('POST /v1/sandboxes', { json, signal: caller.signal });
  const list = async () => (await api.call('GET /v1/sandboxes')).body['data'];
  await expect.poll(list).toMatchObject([{ status: 'creating', timeout_seconds: 60 }]);
  caller.abort();
  await expect(creation).rejects.toThrow('aborted');
  launched.resolve();
  await expect.poll(list).toMatchObject([{ status: 'running', timeout_seconds: 60 }]);
  clock.advance(60_000);
  await expect.poll(() => launcher.sandboxes.map(({ isDestroyed }) => isDestroyed)).toEqual([true]);
  await stop();
});

test('callers that vanish while they send, or are answered, disturb nobody and print nothing', async () => {
  const printed = [vi.spyOn(console, 'info'), vi.spyOn(console, 'error')];
  const failed = vi.fn();
  const { engine, api, stop } = await startScriptedEngine(
    { run: async () => ({ stdout: 'x'.repeat(4_000_000) }) },
    { listen: { kind: 'loopback', port: 0 }, log: { ...silentLog, error: failed } },
  );
  const { token } = await api.createSandbox();
  const start = `POST /execute HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n`;
  const vanish = async (request: string, when: 'connect' | 'data') => {
    const socket = connect(Number(new URL(engine.baseUrl).port), '127.0.0.1');
    socket.write(request);
    await once(socket, when);
    socket.resetAndDestroy();
  };
  await vanish(`${start}content-length: 12\r\n\r\n{"code":"c"}`, 'data');
  await vanish(`${start}content-length: 12\r\n\r\n{"co`, 'connect');
  await vanish(`${start}transfer-encoding: chunked\r\n\r\n3\r\n{"c`, 'connect');
  expect(await api.call('POST /execute', { token, json: { code: 'c' } })).toMatchObject({ status: 200 });
  await stop();
  for (const print of [...printed, failed]) expect(print).not.toHaveBeenCalled();
  for (const print of printed) print.mockRestore();
});

test('the log never has the key, a token, or a value of the environment', async () => {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });
  const { engine, api, stop } = await startScriptedEngine({}, { log });
  const { token, host } = await api.createSandbox({ env_vars: { A: 'the-value' }, timeout_seconds: 60 });
  await api.call(`POST ${host}/execute`, { token, json: { code: 'the-code', env: { A: 'the-value' } } });
  await api.call(`GET ${host}/env`, { token: `${token}x` });
  await stop();
  expect(lines.length).toBeGreaterThan(3);
  for (const secret of [engine.apiKey, token, 'the-value', 'the-code'])
    expect(lines.join('')).not.toContain(secret);
});
