import { afterAll, beforeAll, expect, test } from 'vitest';
import { apiClient } from './api-client.ts';
import { serveForTests } from './serve-for-tests.ts';

// What HopX's page on errors prints, brought about as there: by calls that are wrong, not by a switch.

let server: Awaited<ReturnType<typeof serveForTests>>;
let api: ReturnType<typeof apiClient>;
let mine: Awaited<ReturnType<typeof api.createSandbox>>;

const rates = ['--rate-limits', '1000/1000/5', '--quota', '2', '--errors', 'documented'];

beforeAll(async () => {
  server = await serveForTests(rates);
  api = apiClient({ baseUrl: server.url, apiKey: server.apiKey });
  mine = await api.createSandbox({ timeout_seconds: 600 });
});
afterAll(async () => {
  await api.close();
  await server.stop();
});

type Row = readonly [
  code: string,
  status: number,
  error: string,
  route: string,
  json?: unknown,
  credentials?: 'none' | 'wrong',
];

const paths = (route: string, status: number, code: string, path: string, error: string): Row =>
  route.startsWith('POST')
    ? [code, status, error, route, { path, content: '' }]
    : [code, status, error, `${route}?path=${encodeURIComponent(path)}`];

const outside = '/etc/passwd';
const notAllowed = `Path not allowed: ${outside}`;
const none = '/workspace/none';

const rows: readonly Row[] = [
  ['AUTHENTICATION_REQUIRED', 401, 'Authentication required', 'GET /v1/sandboxes', undefined, 'none'],
  ['AUTHENTICATION_REQUIRED', 401, 'Authentication required', 'POST {vm}/execute', { code: '1' }, 'none'],
  ['INVALID_TOKEN', 401, 'Invalid or expired token', 'POST {vm}/execute', { code: '1' }, 'wrong'],
  ['INVALID_REQUEST', 400, "Invalid request: missing required field 'code'", 'POST {vm}/execute', {}],
  [
    'INVALID_REQUEST',
    400,
    "Invalid request: field 'timeout_seconds': must be positive",
    'PUT /v1/sandboxes/{id}/timeout',
    { timeout_seconds: 0 },
  ],
  ['INVALID_REQUEST', 400, "Invalid request: missing required field 'path'", 'GET {vm}/files/read'],
  [
    'INVALID_REQUEST',
    400,
    "Invalid request: missing required field 'callback_url'",
    'POST {vm}/execute/async',
    { code: '1' },
  ],
  ['INVALID_REQUEST', 400, "Invalid request: missing required field 'command'", 'POST {vm}/commands/run', {}],
  ['RESOURCE_NOT_FOUND', 404, 'Sandbox not found', 'GET /v1/sandboxes/none'],
  ['RESOURCE_NOT_FOUND', 404, 'Sandbox not found', 'DELETE /v1/sandboxes/none'],
  ...['kill', 'pause', 'resume', 'start', 'stop', 'token/refresh'].map(
    (verb) => ['RESOURCE_NOT_FOUND', 404, 'Sandbox not found', `POST /v1/sandboxes/none/${verb}`] as const,
  ),
  ['RESOURCE_NOT_FOUND', 404, 'Process not found', 'POST {vm}/execute/kill', { process_id: 'none' }],
  ['RESOURCE_NOT_FOUND', 404, 'Build not found', 'GET /v1/templates/build/none/status'],
  [
    'CONFLICT',
    409,
    'Template already exists. Set update=true to update it.',
    'POST /v1/templates/build',
    { name: 'code-interpreter' },
  ],
  ['FORBIDDEN', 403, 'Public templates cannot be deleted', 'DELETE /v1/templates/73'],
  [
    'EXECUTION_TIMEOUT',
    408,
    'Execution timeout after 1 seconds',
    'POST {vm}/execute',
    { language: 'bash', code: 'sleep 60', timeout: 1 },
  ],
  [
    'EXECUTION_TIMEOUT',
    408,
    'Execution timeout after 1 seconds',
    'POST {vm}/commands/run',
    { command: 'sleep 60', timeout: 1 },
  ],
  ...['GET {vm}/files/read', 'GET {vm}/files/download', 'GET {vm}/files/list', 'GET {vm}/files/exists'].map(
    (route) => paths(route, 403, 'FORBIDDEN', outside, notAllowed),
  ),
  ...['DELETE {vm}/files/remove', 'POST {vm}/files/mkdir', 'POST {vm}/files/write'].map((route) =>
    paths(route, 403, 'FORBIDDEN', outside, notAllowed),
  ),
  ...[
    'GET {vm}/files/read',
    'GET {vm}/files/download',
    'GET {vm}/files/list',
    'DELETE {vm}/files/remove',
  ].map((route) => paths(route, 404, 'RESOURCE_NOT_FOUND', none, `File not found: ${none}`)),
  ['DESKTOP_NOT_AVAILABLE', 503, 'Desktop is not available in this sandbox', 'POST {vm}/desktop/vnc/start'],
];

for (const [code, status, error, route, json, credentials] of rows) {
  test(`${status} ${code} "${error}" for ${route}`, async () => {
    const isAgent = route.includes('{vm}');
    const right = isAgent ? { token: mine.token } : {};
    const wrong = { none: { key: null }, wrong: { token: 'ey.wrong.token' } };
    const reply = await api.call(route.replace('{id}', mine.id).replace('{vm}', mine.host), {
      json,
      ...(credentials === undefined ? right : wrong[credentials]),
    });
    const requestId = reply.headers['x-request-id'];
    expect(reply).toMatchObject({ status, body: { error, code, request_id: requestId } });
    expect(requestId).toMatch(/^req_/);
  });
}

test('CODE_EXECUTION_ERROR is a result body with 500', async () => {
  const reply = await api.call(`POST ${mine.host}/execute`, { token: mine.token, json: { code: 'x' } });
  expect(reply).toMatchObject({
    status: 500,
    body: { success: false, stdout: '', exit_code: 1, execution_time: expect.any(Number) },
  });
  expect(reply.body['stderr']).toContain("NameError: name 'x' is not defined\n");
  expect(reply.body).not.toHaveProperty('code');
});

test('RESOURCE_LIMIT_ERROR, then RATE_LIMIT_EXCEEDED, when sandboxes are made without end', async () => {
  const create = () => api.call('POST /v1/sandboxes', { json: { template_id: 'code-interpreter' } });
  expect((await create()).status).toBe(201);
  expect(await create()).toMatchObject({
    status: 429,
    body: { error: 'Sandbox limit reached (2/2)', code: 'RESOURCE_LIMIT_ERROR' },
  });
  await create();
  await create();
  const refused = await create();
  expect(refused).toMatchObject({
    status: 429,
    body: { error: 'Rate limit exceeded: 5 requests per minute', code: 'RATE_LIMIT_EXCEEDED' },
  });
  expect(String(refused.body['retry_after'])).toBe(refused.headers['retry-after']);
});

test('SERVICE_UNAVAILABLE, when a sandbox has no process left to start one with', async () => {
  // A shell would wait before it tries again, and leave room for another meanwhile.
  const code = `
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(60)
    except OSError:
        time.sleep(0.001)`;
  const json = { language: 'python', code };
  const bomb = api.call(`POST ${mine.host}/execute`, { token: mine.token, json });
  const starts = async () => {
    const started = { language: 'bash', code: 'echo on' };
    const { status, body } = await api.call(`POST ${mine.host}/execute`, {
      token: mine.token,
      json: started,
    });
    return [status, body['code']];
  };
  await expect.poll(starts, { timeout: 5000 }).toEqual([503, 'SERVICE_UNAVAILABLE']);
  await api.call(`DELETE /v1/sandboxes/${mine.id}`);
  await bomb;
});
