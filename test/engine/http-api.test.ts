import { afterAll, beforeAll, expect, test } from 'vitest';
import { failureNamed, failures } from '../../src/contract/failures.ts';
import { type ScriptedEngine, startScriptedEngine, type TestSandbox } from './scripted-engine.ts';

let engine: ScriptedEngine;
let mine: TestSandbox;
let other: TestSandbox;
let expired: TestSandbox;

beforeAll(async () => {
  const boom = async () => {
    throw new TypeError('the cause, in secret.ts:1');
  };
  engine = await startScriptedEngine({ run: boom });
  expired = await engine.api.createSandbox({ timeout_seconds: 1 });
  engine.clock.advance(1000);
  mine = await engine.api.createSandbox();
  other = await engine.api.createSandbox();
});

afterAll(() => engine.stop());

const fill = (route: string) => route.replace('{id}', mine.id).replace('{expired}', expired.id);

const credentials = {
  key: () => ({}),
  none: () => ({ key: null }),
  wrongKey: () => ({ key: `${engine.engine.apiKey}x` }),
  bearerKey: () => ({ key: null, headers: { authorization: `Bearer ${engine.engine.apiKey}` } }),
  token: () => ({ token: mine.token }),
  otherToken: () => ({ token: other.token }),
  expiredToken: () => ({ token: expired.token }),
  forgedToken: () => ({ token: `${mine.token.slice(0, -4)}AAAA` }),
};

type Refusal = readonly [status: number, code: string, error: string];
type Row = readonly [
  route: string,
  as: keyof typeof credentials,
  request: { json?: unknown; text?: string; chunks?: readonly string[] },
  refusal: Refusal,
];

const invalid = (what: string): Refusal => [400, 'INVALID_REQUEST', `Invalid request: ${what}`];
const tooLarge: Refusal = [413, 'INVALID_REQUEST', 'Invalid request: the body is over 16 MiB'];
const noCredentials: Refusal = [401, 'AUTHENTICATION_REQUIRED', 'Authentication required'];
const badKey: Refusal = [401, 'INVALID_TOKEN', 'Invalid API key'];
const badToken: Refusal = [401, 'INVALID_TOKEN', 'Invalid or expired token'];
const foreignToken: Refusal = [401, 'INVALID_TOKEN', 'The token is for another sandbox'];
const noRoute: Refusal = [404, 'RESOURCE_NOT_FOUND', 'Route not found'];
const noSandbox: Refusal = [404, 'RESOURCE_NOT_FOUND', 'Sandbox not found'];
const noTemplate: Refusal = [
  404,
  'RESOURCE_NOT_FOUND',
  'Template not found; this engine has code-interpreter, base',
];
const wrongMethod: Refusal = [405, 'METHOD_NOT_ALLOWED', 'Method not allowed'];
const isExpired: Refusal = [410, 'SANDBOX_EXPIRED', 'Sandbox expired: it reached the end of its timeout'];
const noSelector: Refusal = [400, 'INVALID_REQUEST', 'Either template_id or template_name must be provided'];
const internal: Refusal = [500, 'INTERNAL_ERROR', 'Internal server error'];
const badTimeout = invalid("field 'timeout': must be from 1 to 300 seconds");

const create = 'POST /v1/sandboxes';
const execute = 'POST /vms/{id}/execute';
const write = 'POST /vms/{id}/files/write';
const code = '1';
const template_id = '73';
const big = 'x'.repeat(17 * 1024 * 1024);

const refusals: readonly Row[] = [
  ['GET /v1/sandboxes', 'none', {}, noCredentials],
  ['GET /v1/sandboxes', 'wrongKey', {}, badKey],
  ['GET /v1/sandboxes', 'token', {}, badKey],
  ['GET /v1/nothing', 'none', {}, noCredentials],
  [execute, 'none', { json: { code } }, noCredentials],
  ['POST /execute', 'none', { json: { code } }, noCredentials],
  [execute, 'key', { json: { code } }, noCredentials],
  [execute, 'bearerKey', { json: { code } }, badToken],
  [execute, 'forgedToken', { json: { code } }, badToken],
  [execute, 'otherToken', { json: { code } }, foreignToken],
  ['GET /vms/{id}/env', 'none', {}, noCredentials],
  ['PUT /vms/{id}/env', 'none', { json: { env_vars: {} } }, noCredentials],
  ['PATCH /vms/{id}/env', 'none', { json: { env_vars: {} } }, noCredentials],
  ['DELETE /vms/{id}/env', 'none', {}, noCredentials],
  ['GET /vms/{id}/files/read?path=/tmp/a', 'none', {}, noCredentials],
  [write, 'none', { json: { path: '/tmp/a', content: '' } }, noCredentials],

  ['GET /', 'key', {}, noRoute],
  ['GET /v1/nothing', 'key', {}, noRoute],
  ['GET /vms/{id}/nothing', 'key', {}, noRoute],
  ['PUT /v1/sandboxes', 'key', {}, wrongMethod],
  ['PATCH /v1/sandboxes/{id}', 'key', {}, wrongMethod],
  ['GET /vms/{id}/execute', 'token', {}, wrongMethod],
  ['POST /health', 'none', {}, wrongMethod],

  [create, 'key', { text: '{"template_id":' }, invalid('the body is not valid JSON')],
  [create, 'key', { text: '[1]' }, invalid('the body must be a JSON object')],
  [create, 'key', { text: 'null' }, invalid('the body must be a JSON object')],
  [execute, 'token', { text: big }, tooLarge],
  [execute, 'token', { chunks: [big.slice(0, 100), big] }, tooLarge],

  [create, 'key', { json: {} }, noSelector],
  [create, 'key', { text: '' }, noSelector],
  [create, 'key', { json: { template_name: 'desktop' } }, noTemplate],
  [create, 'key', { json: { template_id: 74 } }, noTemplate],
  [
    create,
    'key',
    { json: { template_id, timeout_seconds: 0 } },
    invalid("field 'timeout_seconds': Too small: expected number to be >0"),
  ],
  [
    create,
    'key',
    { json: { template_id, timeout_seconds: 1.5 } },
    invalid("field 'timeout_seconds': Invalid input: expected int, received number"),
  ],
  [
    create,
    'key',
    { json: { template_id, timeout_seconds: 1e12 } },
    invalid("field 'timeout_seconds': the sandbox would expire after the year 9999"),
  ],
  [
    create,
    'key',
    { json: { template_id, env_vars: { A: 1 } } },
    invalid("field 'env_vars.A': Invalid input: expected string, received number"),
  ],
  [
    create,
    'key',
    { json: { template_id, env_vars: { 'A=B': '1' } } },
    invalid('environment variable "A=B" has a name that is empty, or has = or NUL in it'),
  ],

  ['GET /v1/sandboxes?limit=0', 'key', {}, invalid("field 'limit': Too small: expected number to be >=1")],
  [
    'GET /v1/sandboxes?cursor=zz',
    'key',
    {},
    invalid("field 'cursor': Invalid input: expected number, received NaN"),
  ],
  ['GET /v1/sandboxes/nope', 'key', {}, noSandbox],
  ['DELETE /v1/sandboxes/nope', 'key', {}, noSandbox],
  ['POST /v1/sandboxes/nope/token/refresh', 'key', {}, noSandbox],
  ['GET /vms/nope/health', 'none', {}, noSandbox],
  ['GET /v1/sandboxes/{expired}', 'key', {}, isExpired],
  ['DELETE /v1/sandboxes/{expired}', 'key', {}, isExpired],
  ['POST /v1/sandboxes/{expired}/token/refresh', 'key', {}, isExpired],
  ['GET /vms/{expired}/health', 'none', {}, isExpired],
  ['POST /vms/{expired}/execute', 'expiredToken', { json: { code } }, isExpired],
  ['GET /env', 'expiredToken', {}, isExpired],

  [execute, 'token', { json: {} }, invalid("missing required field 'code'")],
  [execute, 'token', { json: { code: null } }, invalid("missing required field 'code'")],
  [
    execute,
    'token',
    { json: { code: 1, workdir: true } },
    invalid(
      "field 'code': Invalid input: expected string, received number; field 'workdir': Invalid input: expected string, received boolean",
    ),
  ],
  [
    execute,
    'token',
    { json: { code, language: 'ruby' } },
    invalid(`field 'language': "ruby" is not supported; use python, javascript, bash`),
  ],
  [
    execute,
    'token',
    { json: { code, language: 'go' } },
    invalid(`field 'language': "go" is not installed on this machine; use python, javascript, bash`),
  ],
  [execute, 'token', { json: { code, timeout: 0.5 } }, badTimeout],
  [execute, 'token', { json: { code, timeout: 300.5 } }, badTimeout],
  [
    execute,
    'token',
    { json: { code, env: { A: 'a\0b' } } },
    invalid('environment variable "A" has a NUL byte in its value'),
  ],
  [execute, 'token', { json: { code } }, internal],

  ['PUT /vms/{id}/env', 'token', { json: {} }, invalid("missing required field 'env_vars'")],
  [
    'PATCH /vms/{id}/env',
    'token',
    { json: { env_vars: { '': 'x' } } },
    invalid('environment variable "" has a name that is empty, or has = or NUL in it'),
  ],
  [
    'PATCH /vms/{id}/env',
    'token',
    { json: { env_vars: { A: big.slice(0, 128 * 1024) } } },
    invalid('environment variable "A" is over 128 KiB'),
  ],
  [
    'PUT /vms/{id}/env',
    'token',
    {
      json: {
        env_vars: Object.fromEntries(Array.from({ length: 11 }, (_, n) => [`V${n}`, big.slice(0, 100_000)])),
      },
    },
    invalid('the environment variables are over 1 MiB together'),
  ],
  ['GET /vms/{id}/files/read', 'token', {}, invalid("missing required field 'path'")],
  [write, 'token', { json: { path: '/tmp/a' } }, invalid("missing required field 'content'")],
  [
    write,
    'token',
    { json: { path: '/tmp/a', content: 'a', mode: '0999' } },
    invalid("field 'mode': must be octal digits such as '0644'"),
  ],
  [
    write,
    'token',
    { json: { path: '/tmp/a', content: '§', encoding: 'base64' } },
    invalid("field 'content': not valid base64"),
  ],
  [
    write,
    'token',
    { json: { path: '/tmp/a', content: 'a', encoding: 'hex' } },
    invalid("field 'encoding': must be 'base64', or left out for text"),
  ],
];

for (const [route, as, request, [status, code, error]] of refusals) {
  test(`${route} as ${as}: ${status} ${code} ${error}`, async () => {
    const reply = await engine.api.call(fill(route), { ...request, ...credentials[as]() });
    expect(reply).toMatchObject({ status, body: { error, message: error, code } });
    expect(reply.headers['x-request-id']).toMatch(/^req_\d{10}_[0-9a-f]{16}$/);
    expect(reply.body['request_id']).toBe(reply.headers['x-request-id']);
    const named = failureNamed(code);
    if (named !== undefined && status !== 413) expect(failures[named].status).toBe(status);
  });
}
