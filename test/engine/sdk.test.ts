import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Sandbox } from '@hopx-ai/sdk';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { serveForTests } from './serve-for-tests.ts';

// The official SDK, unmodified: what it gets wrong is told where it does.

let server: Awaited<ReturnType<typeof serveForTests>>;
let sandbox: Sandbox;
let where: { apiKey: string; baseURL: string };

beforeAll(async () => {
  server = await serveForTests(['--quota', '20']);
  where = { apiKey: server.apiKey, baseURL: server.url };
  sandbox = await Sandbox.create({
    template: 'code-interpreter',
    timeoutSeconds: 600,
    envVars: { GREETING: 'hello', API_KEY: 'k' },
    ...where,
  });
});
afterAll(async () => {
  await server.stop();
});

async function output(code: string, language = 'bash') {
  const { stdout } = await sandbox.runCode(code, { language });
  return stdout.trim();
}

async function take<Item>(items: AsyncIterable<Item>, isLast: (item: Item) => boolean): Promise<Item[]> {
  const taken: Item[] = [];
  for await (const item of items) {
    taken.push(item);
    if (isLast(item)) break;
  }
  return taken;
}

describe('sandboxes', () => {
  test('create, getInfo, list, iter, connect and kill', async () => {
    const made = await Sandbox.create({ templateId: '73', region: 'eu-west', timeoutSeconds: 60, ...where });
    expect(await made.getInfo()).toMatchObject({ sandboxId: made.sandboxId, status: 'running' });
    const ids = (await Sandbox.list({ ...where, limit: 100 })).map(({ sandboxId }) => sandboxId);
    expect(ids).toEqual(expect.arrayContaining([made.sandboxId, sandbox.sandboxId]));
    const inRegion = await take(Sandbox.iter({ ...where, region: 'eu-west' }), () => false);
    expect(inRegion.map(({ sandboxId }) => sandboxId)).toEqual([made.sandboxId]);
    const again = await Sandbox.connect(made.sandboxId, where.apiKey, where.baseURL);
    expect((await again.runCode('6 * 7')).result).toBe('42');
    await made.kill();
    // Its own: a 404 that speaks of a sandbox becomes SandboxExpiredError.
    await expect(made.getInfo()).rejects.toMatchObject({ name: 'SandboxExpiredError' });
  });

  test('iter follows the cursor over pages', async () => {
    const made = await Promise.all([1, 2, 3].map(() => Sandbox.create({ template: 'base', ...where })));
    const response = await fetch(`${where.baseURL}/v1/sandboxes?limit=2`, {
      headers: { 'x-api-key': where.apiKey },
    });
    const first: unknown = await response.json();
    expect(first).toMatchObject({ has_more: true, next_cursor: expect.any(String) });
    const ids = (await take(Sandbox.iter(where), () => false)).map(({ sandboxId }) => sandboxId);
    expect(ids).toEqual(expect.arrayContaining(made.map(({ sandboxId }) => sandboxId)));
    await Promise.all(made.map((each) => each.kill()));
  });

  test('pause freezes a counting program, resume lets it go on', async () => {
    const { process_id: id } = await sandbox.commands.runBackground(
      'while :; do echo x >> /workspace/count; sleep 0.01; done',
    );
    expect(id).toMatch(/^cmd_/);
    const count = async () => Number(await output('wc -l < /workspace/count'));
    await expect.poll(count).toBeGreaterThan(2);
    const before = await count();
    await sandbox.pause();
    expect(await sandbox.getInfo()).toMatchObject({ status: 'paused' });
    await expect(sandbox.runCode('1')).rejects.toMatchObject({ code: 'CONFLICT' });
    await sleep(400);
    await sandbox.resume();
    expect(await sandbox.getInfo()).toMatchObject({ status: 'running' });
    // 400 ms at 100 a second would be 40.
    expect((await count()) - before).toBeLessThan(25);
    const after = await count();
    await expect.poll(count).toBeGreaterThan(after);
    await sandbox.killProcess(String(id));
  });

  test('connect resumes what is paused', async () => {
    await sandbox.pause();
    const again = await Sandbox.connect(sandbox.sandboxId, where.apiKey, where.baseURL);
    expect((await again.runCode('1')).result).toBe('1');
  });

  test('setTimeout, getTimeToExpiry, isExpiringSoon, getExpiryInfo, startExpiryMonitor', async () => {
    await sandbox.setTimeout(900);
    const left = await sandbox.getTimeToExpiry();
    expect(left).toBeGreaterThan(890);
    expect(left).toBeLessThanOrEqual(900);
    expect(await sandbox.isExpiringSoon(300)).toBe(false);
    expect(await sandbox.getExpiryInfo()).toMatchObject({ hasTimeout: true, isExpired: false });
    const warned = new Promise((resolve) => sandbox.startExpiryMonitor(resolve, 10_000, 0.05));
    await expect(warned).resolves.toMatchObject({ hasTimeout: true, timeToExpiry: expect.any(Number) });
    sandbox.stopExpiryMonitor();
  });

  test('tokens: refreshToken, ensureValidToken, getToken', async () => {
    const before = await sandbox.getToken();
    await sandbox.refreshToken();
    expect(await sandbox.getToken()).not.toBe(before);
    await sandbox.ensureValidToken();
    await sandbox.init();
    expect((await sandbox.runCode('1')).success).toBe(true);
  });

  test('a sandbox whose time is up is a SandboxExpiredError', async () => {
    const brief = await Sandbox.create({ template: 'base', timeoutSeconds: 1, ...where });
    await sleep(1000);
    await expect(brief.getInfo()).rejects.toMatchObject({
      name: 'SandboxExpiredError',
      message: expect.stringContaining('expired'),
    });
  });

  test('getPreviewUrl works only for hosts of HopX, of which there are none here', async () => {
    await expect(sandbox.getPreviewUrl(8080)).rejects.toThrow('Unable to determine preview URL');
    expect(await sandbox.agentUrl.catch((error: Error) => error.message)).toContain('Unable to determine');
  });
});

describe('templates', () => {
  test('listTemplates and getTemplate', async () => {
    const names = (await Sandbox.listTemplates(where)).map(({ name }) => name);
    expect(names).toEqual(['code-interpreter', 'base']);
    expect(await Sandbox.listTemplates({ ...where, category: 'games' })).toEqual([]);
    expect(await Sandbox.getTemplate('code-interpreter', where)).toMatchObject({ id: '73' });
  });

  test('what is not there, and what is not ours', async () => {
    // Its own: a 404 with "not found" in it becomes FileNotFoundError, also for templates.
    await expect(Sandbox.getTemplate('none', where)).rejects.toMatchObject({ name: 'FileNotFoundError' });
    await expect(Sandbox.deleteTemplate('73', where)).rejects.toMatchObject({ statusCode: 403 });
  });
});

describe('code', () => {
  test('runCode keeps Python variables and brings rich output', async () => {
    await sandbox.runCode('x = 41');
    const code = 'class Table:\n  def _repr_html_(self): return "<table></table>"\nprint(x + 1)\nTable()';
    const { success, stdout, html, richOutputs } = await sandbox.runCode(code, { preflight: true });
    expect({ success, stdout, html }).toEqual({ success: true, stdout: '42\n', html: '<table></table>' });
    expect(richOutputs?.map(({ type }) => type)).toContain('text/html');
  });

  test.each([
    ['javascript', 'console.log(process.env.GREETING)'],
    ['bash', 'echo $GREETING'],
    ['python', 'import os; print(os.environ["GREETING"])'],
  ])('runCode in %s, with the variables that create was given', async (language, code) => {
    expect(await output(code, language)).toBe('hello');
  });

  test('runCode with an environment and a working directory of its own', async () => {
    await sandbox.files.mkdir('/workspace/there');
    const options = { language: 'bash', env: { GREETING: 'bye' }, workingDir: '/workspace/there' };
    expect((await sandbox.runCode('echo $GREETING; pwd', options)).stdout).toBe('bye\n/workspace/there\n');
  });

  test('a program that fails, and one that takes too long, are results', async () => {
    const failed = await sandbox.runCode('1/0');
    expect(failed).toMatchObject({ success: false, exitCode: 1 });
    expect(failed.stderr).toContain('ZeroDivisionError');
    const late = await sandbox.runCode('while True: pass', { timeout: 1 });
    expect(late).toMatchObject({ success: false, exitCode: 124 });
  });

  test('runIpython shares the kernel', async () => {
    await sandbox.runCode('y = 6');
    expect((await sandbox.runIpython('y * 7')).result).toBe('42');
    expect(await sandbox.getJupyterSessions()).toHaveLength(1);
  });

  test('runCodeBackground, listProcesses, killProcess, listSystemProcesses', async () => {
    const started = await sandbox.runCodeBackground('import time; time.sleep(60)', { name: 'sleeper' });
    expect(started).toMatchObject({ status: 'running', name: 'sleeper' });
    const mine = async () =>
      (await sandbox.listProcesses()).find(({ process_id: id }) => id === started.process_id);
    expect(await mine()).toMatchObject({ status: 'running', language: 'python', name: 'sleeper' });
    const commands = async () =>
      (await sandbox.listSystemProcesses()).map((each) => ('command' in each ? each.command : ''));
    await expect.poll(commands).toContain('python3 -');
    await sandbox.killProcess(String(started.process_id));
    expect(await mine()).toMatchObject({ status: 'killed' });
    expect(await commands()).not.toContain('python3 -');
    await expect(sandbox.killProcess('none')).rejects.toMatchObject({ statusCode: 404 });
  });

  test('runCodeAsync calls back, signed', async () => {
    const receiver = createServer().listen(0, '127.0.0.1');
    await once(receiver, 'listening');
    const address = receiver.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { execution_id: id } = await sandbox.runCodeAsync('print("done")', {
      callbackUrl: `http://127.0.0.1:${port}/`,
      callbackHeaders: { 'X-Mine': '1' },
      callbackSignatureSecret: 's',
    });
    const [request, response] = await once(receiver, 'request');
    const body: Buffer[] = [];
    for await (const chunk of request) body.push(chunk);
    response.end();
    receiver.close();
    expect(JSON.parse(Buffer.concat(body).toString())).toMatchObject({
      execution_id: id,
      status: 'completed',
      success: true,
      stdout: 'done\n',
    });
    expect(request.headers).toMatchObject({
      'x-mine': '1',
      'x-hopx-timestamp': expect.stringMatching(/^\d{10}$/),
      'x-hopx-signature': expect.stringMatching(/^sha256=[0-9a-f]{64}$/),
    });
  });

  test('runCodeStream brings all of 200 frames, in order, then the result and complete', async () => {
    const code = 'import time\nfor n in range(200):\n  print(n, flush=True); time.sleep(0.002)';
    const messages = await take(sandbox.runCodeStream(code), ({ type }) => type === 'complete');
    const text = messages.flatMap((each) => (each.type === 'stdout' ? [each.data] : [])).join('');
    expect(text).toBe(Array.from({ length: 200 }, (_, n) => `${n}\n`).join(''));
    expect(messages.length).toBeGreaterThan(100);
    expect(messages.slice(-2)).toMatchObject([
      { type: 'result', exit_code: 0 },
      { type: 'complete', success: true },
    ]);
  });

  test('runCodeStream of what cannot be run ends with an error and complete', async () => {
    const messages = await take(
      sandbox.runCodeStream('1', { language: 'cobol' }),
      ({ type }) => type === 'complete',
    );
    expect(messages).toMatchObject([
      { type: 'error', code: 'INVALID_REQUEST' },
      { type: 'complete', success: false },
    ]);
  });
});

describe('files', () => {
  test('write, read, list, exists, remove, mkdir', async () => {
    const { files } = sandbox;
    await files.mkdir('/workspace/dir/deep');
    await files.write('/workspace/dir/run.sh', 'echo ünï', { mode: '0755' });
    expect(await files.read('/workspace/dir/run.sh')).toBe('echo ünï');
    expect(await output('stat -c %a /workspace/dir/run.sh')).toBe('755');
    const list = await files.list('/workspace/dir');
    expect(list.map(({ name, size }) => [name, size])).toEqual([
      ['deep', expect.any(Number)],
      ['run.sh', 10],
    ]);
    expect(await files.exists('/workspace/dir/run.sh')).toBe(true);
    await files.remove('/workspace/dir');
    expect(await files.exists('/workspace/dir')).toBe(false);
  });

  test('writeBytes, readBytes, upload and download keep every byte', async () => {
    const bytes = randomBytes(300_000);
    await sandbox.files.writeBytes('/workspace/bytes', bytes);
    expect(Buffer.compare(await sandbox.files.readBytes('/workspace/bytes'), bytes)).toBe(0);
    const folder = await mkdtemp(join(tmpdir(), 'hopx-sdk-'));
    await writeFile(join(folder, 'local'), bytes);
    await sandbox.files.upload(join(folder, 'local'), '/tmp/uploaded');
    expect(Buffer.compare(await sandbox.files.download('/tmp/uploaded'), bytes)).toBe(0);
    await rm(folder, { recursive: true });
  });

  test('what is not there, and what is not allowed', async () => {
    await expect(sandbox.files.read('/workspace/none')).rejects.toMatchObject({ name: 'FileNotFoundError' });
    await expect(sandbox.files.read('/etc/passwd')).rejects.toMatchObject({
      statusCode: 403,
      message: 'Path not allowed: /etc/passwd',
    });
    await sandbox.files.write('/workspace/once', '1');
    await expect(sandbox.files.write('/workspace/once', '2', { overwrite: false })).rejects.toMatchObject({
      statusCode: 409,
    });
  });

  test('watchFiles tells what is made, changed and removed', async () => {
    await sandbox.files.mkdir('/workspace/watched');
    const changes = take(sandbox.watchFiles('/workspace/watched'), ({ event }) => event === 'deleted');
    await sleep(300);
    for (const step of ['echo 1 > a', 'echo 22 > a', 'rm a']) {
      await sandbox.runCode(step, { language: 'bash', workingDir: '/workspace/watched' });
      await sleep(300);
    }
    expect((await changes).map(({ event, path }) => [event, path])).toEqual([
      ['created', '/workspace/watched/a'],
      ['modified', '/workspace/watched/a'],
      ['deleted', '/workspace/watched/a'],
    ]);
  });
});

describe('commands, variables, cache, terminal and state', () => {
  test('commands.run is a shell, and a failing command a result', async () => {
    const { commands } = sandbox;
    const ran = await commands.run('echo "$A" | tr a-z A-Z; pwd >&2', { env: { A: "it's" } });
    expect(ran).toMatchObject({ stdout: "IT'S\n", stderr: '/workspace\n', exit_code: 0 });
    const failed = await commands.run('echo bad >&2; exit 3', { workingDir: '/tmp' });
    expect(failed).toMatchObject({ stderr: 'bad\n', exit_code: 3 });
  });

  test('commands.run in the background is a process of its own', async () => {
    await sandbox.commands.run('touch /workspace/ran-in-background', { background: true });
    await expect.poll(() => sandbox.files.exists('/workspace/ran-in-background')).toBe(true);
  });

  test('env: set, update, getAll, get, setAll', async () => {
    const { env } = sandbox;
    expect(await env.getAll()).toMatchObject({ GREETING: 'hello', API_KEY: '***MASKED***' });
    await env.set('LEVEL', '1');
    await env.update({ LEVEL: '2' });
    expect(await env.get('LEVEL')).toBe('2');
    expect(await output('echo $LEVEL $API_KEY')).toBe('2 k');
    await env.setAll({ GREETING: 'hello', API_KEY: 'k' });
    expect(await env.get('LEVEL')).toBeUndefined();
  });

  test('env.delete writes the mask over every secret, which is its own doing', async () => {
    await sandbox.env.delete('GREETING');
    expect(await output('echo $API_KEY')).toBe('***MASKED***');
    await sandbox.env.setAll({ GREETING: 'hello', API_KEY: 'k' });
  });

  test('cache.stats and cache.clear', async () => {
    expect(await sandbox.cache.stats()).toMatchObject({ cache: { size: 0 } });
    expect(await sandbox.cache.clear()).toMatchObject({ success: true });
  });

  test('the terminal is a pseudo-terminal', async () => {
    const socket = await sandbox.terminal.connect();
    sandbox.terminal.resize(socket, 132, 43);
    sandbox.terminal.sendInput(socket, 'tty; stty size; exit 7\n');
    const messages = await take(sandbox.terminal.output(socket), ({ type }) => type === 'exit');
    const text = messages.map((each) => ('data' in each ? each.data : '')).join('');
    expect(text).toMatch(/^\/dev\/pts\/\d+\r$/m);
    expect(text).toContain('43 132');
    expect(messages.at(-1)).toMatchObject({ type: 'exit', code: 7 });
    socket.close();
  });

  test('health, info and metrics', async () => {
    expect(await sandbox.getHealth()).toMatchObject({ status: 'healthy' });
    expect(await sandbox.isHealthy()).toBe(true);
    await sandbox.ensureHealthy();
    expect(await Sandbox.healthCheck(where.baseURL)).toMatchObject({ status: 'healthy' });
    expect(await sandbox.getAgentInfo()).toMatchObject({ vm_id: sandbox.sandboxId });
    const before = await sandbox.getMetricsSnapshot();
    await sandbox.runCode('1');
    const after = await sandbox.getAgentMetrics();
    expect(after).toMatchObject({ active_executions: 0 });
    expect(Number(after.total_executions)).toBe(Number(before.total_executions) + 1);
  });
});

test('a wrong key is an AuthenticationError', async () => {
  const wrong = { ...where, apiKey: 'hopx_live_aaaaaaaaaaaa.b' };
  await expect(Sandbox.list(wrong)).rejects.toMatchObject({ name: 'AuthenticationError' });
});

test('list() gives sandboxes that work only after getInfo(), which is its own doing', async () => {
  const [listed] = await Sandbox.list({ ...where, limit: 1 });
  expect(() => listed?.files).toThrow('Agent client not initialized');
  await listed?.getInfo();
  expect(await listed?.files.exists('/workspace')).toBe(true);
});

test('a 5xx is repeated three times by itself, also for code, which therefore runs three times', async () => {
  const documented = await serveForTests(['--errors', 'documented']);
  const log = vi.spyOn(console, 'log').mockReturnValue();
  const place = { apiKey: documented.apiKey, baseURL: documented.url };
  const mine = await Sandbox.create({ template: 'base', ...place });
  const code = 'echo x >> /workspace/runs; exit 1';
  await expect(mine.runCode(code, { language: 'bash' })).rejects.toMatchObject({ name: 'ServerError' });
  expect((await mine.runCode('wc -l < /workspace/runs', { language: 'bash' })).stdout).toBe('3\n');
  log.mockRestore();
  await documented.stop();
}, 10_000);
