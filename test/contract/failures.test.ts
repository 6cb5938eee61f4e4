import { describe, expect, test } from 'vitest';
import {
  type FailureCode,
  failureCodes,
  failureForStatus,
  failureNamed,
  failures,
  type Outcome,
  SandboxFailure,
} from '../../src/contract/failures.ts';
import { tools } from '../../tools/index.ts';

type Expected = readonly [
  origin: 'hopx' | 'ours',
  status: number | null,
  retry: 'never' | 'rate' | 'refused' | 'auth' | 'idempotent',
  retryable: boolean,
  outcome: Outcome,
];

/** The contract: a new code demands a row here. */
const catalogue: Record<FailureCode, Expected> = {
  AUTHENTICATION_REQUIRED: ['hopx', 401, 'never', false, 'not_performed'],
  INVALID_TOKEN: ['hopx', 401, 'auth', false, 'not_performed'],
  INVALID_REQUEST: ['hopx', 400, 'never', false, 'not_performed'],
  RESOURCE_NOT_FOUND: ['hopx', 404, 'never', false, 'not_performed'],
  SANDBOX_EXPIRED: ['hopx', 410, 'never', false, 'not_performed'],
  CONFLICT: ['hopx', 409, 'never', false, 'not_performed'],
  EXECUTION_TIMEOUT: ['hopx', 408, 'never', false, 'performed'],
  CODE_EXECUTION_ERROR: ['hopx', 500, 'never', false, 'performed'],
  PAYMENT_REQUIRED: ['hopx', 402, 'never', false, 'not_performed'],
  RESOURCE_LIMIT_ERROR: ['hopx', 429, 'never', false, 'not_performed'],
  FORBIDDEN: ['hopx', 403, 'never', false, 'not_performed'],
  RATE_LIMIT_EXCEEDED: ['hopx', 429, 'rate', true, 'not_performed'],
  SERVICE_UNAVAILABLE: ['hopx', 503, 'refused', true, 'not_performed'],
  INTERNAL_ERROR: ['hopx', 500, 'idempotent', true, 'unknown'],
  INVALID_ARGUMENTS: ['ours', null, 'never', false, 'not_performed'],
  NETWORK_ERROR: ['ours', null, 'idempotent', true, 'not_performed'],
  REQUEST_TIMEOUT: ['ours', null, 'idempotent', true, 'unknown'],
  INVALID_RESPONSE: ['ours', null, 'never', false, 'unknown'],
  UPSTREAM_ERROR: ['ours', null, 'idempotent', true, 'unknown'],
  QUEUE_FULL: ['ours', null, 'never', true, 'not_performed'],
  CANCELLED: ['ours', null, 'never', true, 'unknown'],
  CONFIGURATION_ERROR: ['ours', null, 'never', false, 'not_performed'],
  ENGINE_UNAVAILABLE: ['ours', null, 'never', false, 'not_performed'],
  UNTRUSTED_HOST: ['ours', null, 'never', false, 'not_performed'],
};

describe('the catalogue', () => {
  test.each(failureCodes())('%s', (code) => {
    const { origin, status, retry, retryable, outcome } = failures[code];
    expect([origin, status, retry, retryable, outcome]).toEqual(catalogue[code]);
  });

  const toolNames = new Set(tools.map((tool) => tool.name));

  test.each(failureCodes())('%s can be read and acted upon', (code) => {
    const { meaning, remediation, nextSteps } = failures[code];
    expect(meaning).toMatch(/^[A-Z].*\.$/);
    expect(remediation).toMatch(/^[A-Z].*\.$/);
    expect(nextSteps.map((step) => step.tool).filter((tool) => !toolNames.has(tool))).toEqual([]);
  });

  test('a failure that is not retryable does not tell the caller to wait', () => {
    const waiting = failureCodes().filter((code) => failures[code].remediation.includes('{retry_after}'));
    expect(waiting.filter((code) => !failures[code].retryable)).toEqual([]);
  });
});

describe('names that HopX has for a failure', () => {
  test.each([
    ['TOKEN_EXPIRED', 'INVALID_TOKEN'],
    ['TOKEN_INVALID', 'INVALID_TOKEN'],
    ['AUTHENTICATION_ERROR', 'INVALID_TOKEN'],
    ['INVALID_JSON', 'INVALID_REQUEST'],
    ['MISSING_PARAMETER', 'INVALID_REQUEST'],
    ['INVALID_PATH', 'INVALID_REQUEST'],
    ['NOT_FOUND', 'RESOURCE_NOT_FOUND'],
    ['SANDBOX_NOT_FOUND', 'RESOURCE_NOT_FOUND'],
    ['PATH_NOT_ALLOWED', 'FORBIDDEN'],
    ['PERMISSION_DENIED', 'FORBIDDEN'],
    ['NOT_INITIALIZED', 'SERVICE_UNAVAILABLE'],
    ['RATE_LIMIT_EXCEEDED', 'RATE_LIMIT_EXCEEDED'],
    ['A_CODE_OF_TOMORROW', undefined],
    ['constructor', undefined],
    [undefined, undefined],
  ] as const)('%s → %s', (name, code) => expect(failureNamed(name)).toBe(code));

  test('no name stands for two failures', () => {
    const names = failureCodes().flatMap((code) => [code, ...failures[code].aliases]);
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });
});

test.each([
  [400, 'INVALID_REQUEST'],
  [401, 'AUTHENTICATION_REQUIRED'],
  [402, 'PAYMENT_REQUIRED'],
  [403, 'FORBIDDEN'],
  [404, 'RESOURCE_NOT_FOUND'],
  [408, 'REQUEST_TIMEOUT'],
  [409, 'CONFLICT'],
  [410, 'SANDBOX_EXPIRED'],
  [418, 'UPSTREAM_ERROR'],
  [429, 'RATE_LIMIT_EXCEEDED'],
  [500, 'INTERNAL_ERROR'],
  [502, 'UPSTREAM_ERROR'],
  [503, 'SERVICE_UNAVAILABLE'],
  [504, 'UPSTREAM_ERROR'],
] as const)('a bare %d is %s', (status, code) => expect(failureForStatus(status)).toBe(code));

describe('SandboxFailure', () => {
  test('says what its row means unless it knows better', () => {
    expect(new SandboxFailure('CONFLICT').message).toBe(failures.CONFLICT.meaning);
    expect(new SandboxFailure('CONFLICT', { message: 'Busy.' }).message).toBe('Busy.');
  });

  test('learns facts, and keeps those it had', () => {
    const failure = new SandboxFailure('CONFLICT', { httpStatus: 409 }).with({
      httpStatus: 1,
      sandboxId: 's',
    });
    expect(failure).toMatchObject({ code: 'CONFLICT', facts: { httpStatus: 409, sandboxId: 's' } });
  });
});
