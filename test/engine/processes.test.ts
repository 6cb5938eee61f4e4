import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { apiClient } from './api-client.ts';
import { serveForTests } from './serve-for-tests.ts';

let server: Awaited<ReturnType<typeof serveForTests>>;
let api: ReturnType<typeof apiClient>;
let mine: Awaited<ReturnType<typeof api.createSandbox>>;

beforeAll(async () => {
  server = await serveForTests();
  api = apiClient({ baseUrl: server.url, apiKey: server.apiKey });
  mine = await api.createSandbox();
});
afterAll(async () => {
  await api.close();
  await server.stop();
});

const call = (route: string, json?: unknown) =>
  api.call(route.replace(' ', ` ${mine.host}`), { token: mine.token, json });
const list = z.object({ processes: z.array(z.looseObject({ process_id: z.string(), status: z.string() })) });

async function statusOf(id: unknown) {
  const { body } = await call('GET /execute/processes');
  return list.parse(body).processes.find((each) => each.process_id === id)?.status;
}

// HopX documents four; which of them its service takes is not known, so all of them are taken.
test.each([
  ['DELETE /execute/kill?process_id={id}', undefined],
  ['DELETE /execute/kill', 'body'],
  ['POST /execute/kill/{id}', undefined],
  ['POST /execute/kill', 'body'],
])('%s kills a process', async (route, where) => {
  const { body } = await call('POST /commands/background', { command: 'sleep 60' });
  const id = body['process_id'];
  expect(await statusOf(id)).toBe('running');
  const json = where === 'body' ? { process_id: id } : undefined;
  expect(await call(route.replace('{id}', String(id)), json)).toMatchObject({
    status: 200,
    body: { process_id: id, status: 'killed' },
  });
  expect(await statusOf(id)).toBe('killed');
});

test.each([
  ['POST /execute/kill', {}, 400],
  ['POST /execute/kill', { process_id: 'none' }, 404],
  ['DELETE /execute/kill', undefined, 400],
  ['POST /execute/kill/none', undefined, 404],
])('%s %j is refused', async (route, json, status) => {
  expect((await call(route, json)).status).toBe(status);
});

test.each([
  [{ language: 'bash', code: 'exit 0' }, 'completed'],
  [{ language: 'python', code: '1/0' }, 'failed'],
  [{ language: 'bash', code: 'sleep 60', timeout: 1 }, 'timeout'],
  [{ language: 'javascript', code: 'process.exit(4)' }, 'failed'],
])('%j ends as %s', async (json, status) => {
  const { body } = await call('POST /execute/background', json);
  await expect.poll(() => statusOf(body['process_id']), { timeout: 3000 }).toBe(status);
});

test('Python in the background is no hindrance to Python in the foreground', async () => {
  await call('POST /execute/background', { code: 'import time; time.sleep(60)' });
  expect((await call('POST /execute', { code: '6*7', timeout: 5 })).body).toMatchObject({ result: '42' });
});
