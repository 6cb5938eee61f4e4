import { afterAll, beforeAll, expect, test } from 'vitest';
import { sandboxReply } from '../../src/contract/hopx.ts';
import { type ScriptedEngine, startScriptedEngine } from './scripted-engine.ts';

const create = 'POST /v1/sandboxes';
const template_id = '73';

let engine: ScriptedEngine;
let api: ScriptedEngine['api'];

beforeAll(async () => {
  engine = await startScriptedEngine({}, { maxSandboxes: 2 });
  api = engine.api;
});
afterAll(() => engine.stop());

async function remove(id: unknown): Promise<void> {
  expect(await api.call(`DELETE /v1/sandboxes/${id}`)).toMatchObject({ status: 200 });
}

test('create answers 201 with the sandbox object and a token', async () => {
  const request = { template_id: 73, region: 'eu-west', timeout_seconds: 1234, internet_access: false };
  const { status, body } = await api.call(create, { json: request });
  expect(status).toBe(201);
  expect(sandboxReply.safeParse(body).success).toBe(true);
  expect(body).toEqual({
    id: expect.stringMatching(/^\d{10}[a-z0-9]{8}$/),
    object: 'sandbox',
    organization_id: expect.any(Number),
    node_id: 'local',
    region: 'eu-west',
    status: 'running',
    public_host: `http://localhost/vms/${body['id']}`,
    direct_url: `http://localhost/vms/${body['id']}`,
    preview_url: '',
    template_id: '73',
    template_name: 'code-interpreter',
    resources: { vcpu: expect.any(Number), memory_mb: 1024, disk_mb: 512 },
    internet_access: false,
    live_mode: true,
    timeout_seconds: 1234,
    expires_at: '2030-01-01T00:20:34.000Z',
    created_at: '2030-01-01T00:00:00.000Z',
    auth_token: expect.stringMatching(/^ey/),
    token_expires_at: '2030-01-02T00:00:00.000Z',
    isolation: 'None: a script.',
    languages: ['python', 'javascript', 'bash'],
    request_id: expect.stringMatching(/^req_1893456000_[0-9a-f]{16}$/),
  });
  await remove(body['id']);
});

test.each([
  { template_id: 'code-interpreter' },
  { template_name: 'code-interpreter' },
  { template_id: '73' },
  { template_name: 'base' },
])('%j selects a template; without timeout_seconds the sandbox lives until deleted', async (json) => {
  const { status, body } = await api.call(create, { json });
  expect(status).toBe(201);
  expect(body).toMatchObject({ timeout_seconds: null, expires_at: null });
  await remove(body['id']);
});

test('get answers the object, without a token', async () => {
  const { id } = await api.createSandbox();
  const { body } = await api.call(`GET /v1/sandboxes/${id}`);
  expect(body).toMatchObject({ id, object: 'sandbox', status: 'running' });
  expect(body).not.toHaveProperty('auth_token');
  await remove(id);
});

test('list answers pages of objects', async () => {
  const [{ id: first }, { id: second }] = [await api.createSandbox(), await api.createSandbox()];
  const page = await api.call('GET /v1/sandboxes?limit=1');
  const found = { object: 'list', data: [{ id: first }], has_more: true, url: '/v1/sandboxes' };
  expect(page.body).toMatchObject(found);
  const rest = await api.call(`GET /v1/sandboxes?limit=1&cursor=${page.body['next_cursor']}`);
  expect(rest.body).toMatchObject({ data: [{ id: second }], has_more: false, next_cursor: null });
  const none = await api.call('GET /v1/sandboxes?status=paused');
  expect(none.body).toMatchObject({ data: [], has_more: false, next_cursor: null });
  await remove(first);
  await remove(second);
});

test('delete answers 200 with the id, then 404', async () => {
  const { id } = await api.createSandbox();
  const route = `DELETE /v1/sandboxes/${id}`;
  expect(await api.call(route)).toMatchObject({ status: 200, body: { status: 'deleted', id } });
  expect(await api.call(route)).toMatchObject({ status: 404, body: { code: 'RESOURCE_NOT_FOUND' } });
});

test('one sandbox more than the quota is 429 RESOURCE_LIMIT_ERROR', async () => {
  const made = [await api.createSandbox(), await api.createSandbox()];
  expect(await api.call(create, { json: { template_id } })).toMatchObject({
    status: 429,
    body: { code: 'RESOURCE_LIMIT_ERROR', error: 'Sandbox limit reached (2/2)' },
  });
  for (const { id } of made) await remove(id);
});

test('a sandbox that cannot be launched is 500 INTERNAL_ERROR without the reason', async () => {
  const launching = () => Promise.reject(new Error('spawn /secret/bwrap'));
  const broken = await startScriptedEngine({ launching });
  const { status, body } = await broken.api.call(create, { json: { template_id } });
  expect(status).toBe(500);
  expect(body).toMatchObject({ code: 'INTERNAL_ERROR', error: 'Internal server error' });
  expect(JSON.stringify(body)).not.toContain('secret');
  await broken.stop();
});

test('a refreshed token works beside the old one, each until its own end', async () => {
  const { id, token, host } = await api.createSandbox();
  const halfDayMs = 12 * 60 * 60 * 1000;
  engine.clock.advance(halfDayMs);
  const { status, body } = await api.call(`POST /v1/sandboxes/${id}/token/refresh`, { text: '' });
  expect(status).toBe(200);
  const fresh = String(body['auth_token']);
  expect(fresh).not.toBe(token);
  const statuses = async () => [
    (await api.call(`GET ${host}/env`, { token })).status,
    (await api.call(`GET ${host}/env`, { token: fresh })).status,
  ];
  expect(await statuses()).toEqual([200, 200]);
  engine.clock.advance(halfDayMs);
  expect(await statuses()).toEqual([401, 200]);
  engine.clock.advance(halfDayMs);
  expect(await statuses()).toEqual([401, 401]);
  await remove(id);
});

test('an expired sandbox says when it ended', async () => {
  const { id } = await api.createSandbox({ timeout_seconds: 10 });
  const createdAtMs = engine.clock.now();
  engine.clock.advance(10_000);
  expect((await api.call(`GET /v1/sandboxes/${id}`)).body).toMatchObject({
    code: 'SANDBOX_EXPIRED',
    sandbox_id: id,
    status: 'expired',
    created_at: new Date(createdAtMs).toISOString(),
    expires_at: new Date(createdAtMs + 10_000).toISOString(),
  });
});

test('the key is taken as a bearer too', async () => {
  const headers = { authorization: `Bearer ${engine.engine.apiKey}` };
  expect(await api.call('GET /v1/sandboxes', { key: null, headers })).toMatchObject({ status: 200 });
});

test('health needs no key', async () => {
  expect(await api.call('GET /health', { key: null })).toMatchObject({
    status: 200,
    body: { status: 'healthy' },
  });
});

test('a wrong method is told which are right', async () => {
  expect((await api.call('PUT /v1/sandboxes')).headers['allow']).toBe('POST, GET, HEAD');
});
