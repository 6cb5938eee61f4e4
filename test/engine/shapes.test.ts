import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import * as shapes from '../support/hopx-shapes.ts';
import { apiClient } from './api-client.ts';
import { serveForTests } from './serve-for-tests.ts';

let server: Awaited<ReturnType<typeof serveForTests>>;
let api: ReturnType<typeof apiClient>;
let mine: Awaited<ReturnType<typeof api.createSandbox>>;

beforeAll(async () => {
  server = await serveForTests();
  api = apiClient({ baseUrl: server.url, apiKey: server.apiKey });
  mine = await api.createSandbox({ timeout_seconds: 600 });
});
afterAll(async () => {
  await api.close();
  await server.stop();
});

type Row = readonly [route: string, json: unknown, shape: z.ZodType, status?: number];
const path = '/workspace/shape.txt';
const code = 'print(1)\n6*7';
const sleeping = { language: 'bash', code: 'sleep 60' };

/** In this order: later rows rest on what earlier ones did. */
const rows: readonly Row[] = [
  ['POST /v1/sandboxes', { template_id: 73 }, shapes.createdSandbox, 201],
  ['GET /v1/sandboxes', undefined, shapes.sandboxList],
  ['GET /v1/sandboxes/{id}', undefined, shapes.sandbox],
  ['POST /v1/sandboxes/{id}/token/refresh', undefined, shapes.token],
  ['PUT /v1/sandboxes/{id}/timeout', { timeout_seconds: 900 }, shapes.timeoutChange],
  ['POST /v1/sandboxes/{id}/pause', undefined, shapes.stateChange],
  ['POST /v1/sandboxes/{id}/pause', undefined, shapes.stateChange],
  ['GET /v1/sandboxes/{id}', undefined, shapes.sandbox],
  ['POST /v1/sandboxes/{id}/resume', undefined, shapes.stateChange],
  ['POST /v1/sandboxes/{id}/stop', undefined, shapes.stateChange],
  ['POST /v1/sandboxes/{id}/start', undefined, shapes.stateChange],
  ['GET /v1/templates', undefined, shapes.templateList],
  ['GET /v1/templates/code-interpreter', undefined, shapes.oneTemplate],
  ['GET /v1/templates/73', undefined, shapes.oneTemplate],
  ['GET /health', undefined, shapes.health],
  ['GET {vm}/health', undefined, shapes.health],
  ['GET {vm}/info', undefined, shapes.info],
  ['GET {vm}/system', undefined, shapes.system],
  ['POST {vm}/execute', { code }, shapes.executed],
  ['POST {vm}/execute', { code: '1/0' }, shapes.executed],
  ['POST {vm}/execute/rich', { code, capture_rich: true }, shapes.executed],
  ['POST {vm}/execute/ipython', { code }, shapes.executed],
  ['POST {vm}/execute/background', { ...sleeping, name: 'b' }, shapes.background],
  ['POST {vm}/execute/async', { code, callback_url: 'http://127.0.0.1:9/' }, shapes.queued],
  ['POST {vm}/commands/run', { command: 'bash', args: ['-c', 'echo 1'] }, shapes.command],
  ['POST {vm}/commands/run', { command: 'exit 3' }, shapes.command],
  ['POST {vm}/commands/background', { command: 'sleep 60' }, shapes.background],
  ['GET {vm}/execute/processes', undefined, shapes.processList],
  ['GET {vm}/processes', undefined, shapes.systemProcesses],
  ['POST {vm}/files/write', { path, content: 'eA==', encoding: 'base64', mode: '0600' }, shapes.fileChange],
  [`GET {vm}/files/read?path=${path}`, undefined, shapes.fileContent],
  ['GET {vm}/files/list?path=/workspace', undefined, shapes.fileList],
  ['GET {vm}/files/list', undefined, shapes.fileList],
  [`GET {vm}/files/exists?path=${path}`, undefined, shapes.exists],
  [`DELETE {vm}/files/remove?path=${path}`, undefined, shapes.fileChange],
  ['POST {vm}/files/mkdir', { path: '/workspace/a/b' }, shapes.fileChange],
  ['PUT {vm}/env', { env_vars: { A: '1' } }, shapes.env],
  ['PATCH {vm}/env', { env_vars: { B_TOKEN: '2' }, merge: true }, shapes.env],
  ['GET {vm}/env', undefined, shapes.env],
  ['DELETE {vm}/env', undefined, shapes.env],
  ['GET {vm}/metrics', undefined, shapes.metrics],
  ['GET {vm}/metrics/snapshot', undefined, shapes.metrics],
  ['GET {vm}/cache/stats', undefined, shapes.cache],
  ['GET {vm}/jupyter/sessions', undefined, shapes.sessions],
  ['GET {vm}/jupyter/status', undefined, shapes.sessions],
  ['POST /v1/sandboxes/{id}/kill', undefined, shapes.stateChange],
];

for (const [route, json, shape, status = 200] of rows) {
  test(`${route} ${JSON.stringify(json) ?? ''} has the shape that HopX documents`, async () => {
    const isAgent = route.includes('{vm}');
    const reply = await api.call(route.replace('{id}', mine.id).replace('{vm}', mine.host), {
      json,
      ...(isAgent && { token: mine.token }),
    });
    expect(reply.status).toBe(status);
    expect(shape.safeParse(reply.body).error?.message).toBeUndefined();
  });
}
