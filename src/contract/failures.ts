/** Did the thing asked for happen? */
export type Outcome = 'not_performed' | 'performed' | 'unknown';

/** A tool call worth making after a failure; `{sandbox_id}` in an argument is filled in from the failure. */
export type NextStep = { tool: string; arguments: Readonly<Record<string, unknown>>; why: string };

type FailureRow = {
  /** Who coined the code. */
  origin: 'hopx' | 'ours';
  /** The HTTP status the engine answers with and the client recognises; null for what never crosses the wire. */
  status: number | null;
  /** Other names the same failure has in HopX's documents and SDKs. */
  aliases: readonly string[];
  meaning: string;
  /**
   * When the client itself repeats the attempt: `rate` after the wait the server names, `refused` because
   * nothing was done, `auth` once after a token refresh, `idempotent` if doing it twice is harmless.
   */
  retry: 'never' | 'rate' | 'refused' | 'auth' | 'idempotent';
  /** Would the same call, unchanged, be worth making later? */
  retryable: boolean;
  outcome: Outcome;
  remediation: string;
  nextSteps: readonly NextStep[];
};

const create: NextStep = { tool: 'create_sandbox', arguments: {}, why: 'get a fresh sandbox' };
const list: NextStep = { tool: 'list_sandboxes', arguments: {}, why: 'see which sandboxes exist' };
const inspect: NextStep = {
  tool: 'execute_code',
  arguments: { sandbox_id: '{sandbox_id}', language: 'bash', code: 'ls -la /workspace' },
  why: 'look at what the code left behind',
};

/** Every failure a caller can meet, one row a code. */
export const failures = {
  AUTHENTICATION_REQUIRED: {
    origin: 'hopx',
    status: 401,
    aliases: [],
    meaning: 'HopX did not accept the request without valid credentials.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Ask the user to set HOPX_API_KEY to a valid HopX key and restart the server, or to unset it to run sandboxes on this machine.',
    nextSteps: [],
  },
  INVALID_TOKEN: {
    origin: 'hopx',
    status: 401,
    aliases: ['TOKEN_EXPIRED', 'TOKEN_INVALID', 'AUTHENTICATION_ERROR'],
    meaning: 'HopX rejected the token, also after it was refreshed.',
    retry: 'auth',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Create a new sandbox. If that fails in the same way, ask the user to check HOPX_API_KEY: the key may be revoked.',
    nextSteps: [create],
  },
  INVALID_REQUEST: {
    origin: 'hopx',
    status: 400,
    aliases: ['INVALID_JSON', 'MISSING_PARAMETER', 'INVALID_PATH'],
    meaning: 'The sandbox API found the request invalid.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Correct the argument that the message names, then call again.',
    nextSteps: [],
  },
  RESOURCE_NOT_FOUND: {
    origin: 'hopx',
    status: 404,
    aliases: ['NOT_FOUND', 'SANDBOX_NOT_FOUND', 'PROCESS_NOT_FOUND', 'FILE_NOT_FOUND', 'DIRECTORY_NOT_FOUND'],
    meaning: 'What the call names does not exist: it was never created, or it was deleted or expired.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Use an id from list_sandboxes, or leave sandbox_id out to use the default sandbox.',
    nextSteps: [list, create],
  },
  SANDBOX_EXPIRED: {
    origin: 'hopx',
    status: 410,
    aliases: [],
    meaning: 'The sandbox reached the end of its lifetime and is gone, with its files.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Create a new sandbox, with a larger timeout_seconds if the work takes longer, and run the code there.',
    nextSteps: [create],
  },
  CONFLICT: {
    origin: 'hopx',
    status: 409,
    aliases: ['FILE_ALREADY_EXISTS', 'SANDBOX_CREATING', 'SANDBOX_STOPPED'],
    meaning: 'The request conflicts with the present state of the sandbox.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Look at the state of the sandbox with list_sandboxes; use another sandbox if this one is not running.',
    nextSteps: [list],
  },
  EXECUTION_TIMEOUT: {
    origin: 'hopx',
    status: 408,
    aliases: [],
    meaning: 'The code ran longer than its time limit and was stopped.',
    retry: 'never',
    retryable: false,
    outcome: 'performed',
    remediation:
      'The code ran in part: check its effects before running it again. Make it faster, split it, or pass a larger timeout_seconds.',
    nextSteps: [inspect],
  },
  CODE_EXECUTION_ERROR: {
    origin: 'hopx',
    status: 500,
    aliases: ['EXECUTION_FAILED', 'COMMAND_FAILED'],
    meaning: 'The code ran and failed.',
    retry: 'never',
    retryable: false,
    outcome: 'performed',
    remediation: 'Read stderr, correct the code, and call execute_code again with the corrected code.',
    nextSteps: [],
  },
  PAYMENT_REQUIRED: {
    origin: 'hopx',
    status: 402,
    aliases: [],
    meaning: 'The HopX account has no credit left or needs a payment method.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Ask the user to add credit or a payment method in the HopX console. Repeating the call does not help.',
    nextSteps: [],
  },
  RESOURCE_LIMIT_ERROR: {
    origin: 'hopx',
    status: 429,
    aliases: [],
    meaning: 'The limit of sandboxes that may exist at once is reached.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Delete a sandbox you no longer need, then make the same call again. Waiting alone does not help.',
    nextSteps: [list],
  },
  FORBIDDEN: {
    origin: 'hopx',
    status: 403,
    aliases: ['PATH_NOT_ALLOWED', 'PERMISSION_DENIED'],
    meaning: 'The sandbox API does not allow this.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Use only paths under /workspace and /tmp, and only sandboxes of this account.',
    nextSteps: [],
  },
  RATE_LIMIT_EXCEEDED: {
    origin: 'hopx',
    status: 429,
    aliases: [],
    meaning: 'The rate limit is used up, and its end is further away than this call may take.',
    retry: 'rate',
    retryable: true,
    outcome: 'not_performed',
    remediation: 'Make the same call again after {retry_after} seconds.',
    nextSteps: [],
  },
  SERVICE_UNAVAILABLE: {
    origin: 'hopx',
    status: 503,
    aliases: ['NOT_INITIALIZED', 'DESKTOP_NOT_AVAILABLE'],
    meaning: 'The sandbox service was unavailable for as long as this call could wait.',
    retry: 'refused',
    retryable: true,
    outcome: 'not_performed',
    remediation: 'Make the same call again in {retry_after} seconds.',
    nextSteps: [],
  },
  INTERNAL_ERROR: {
    origin: 'hopx',
    status: 500,
    aliases: ['FILE_OPERATION_FAILED'],
    meaning: 'The sandbox service had an internal error.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'unknown',
    remediation:
      'Check first whether it happened, because it may have. If it keeps failing, give the user the request id for HopX support.',
    nextSteps: [list],
  },
  INVALID_ARGUMENTS: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'An argument of the call is not valid.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Correct the named argument and call again.',
    nextSteps: [],
  },
  NETWORK_ERROR: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'The sandbox API could not be reached.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'not_performed',
    remediation:
      'Make the same call again shortly. If it keeps failing, ask the user to check the network and HOPX_BASE_URL.',
    nextSteps: [],
  },
  REQUEST_TIMEOUT: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'The sandbox API did not answer in time.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'unknown',
    remediation:
      'Check first whether it happened, because it may have, then decide whether to repeat the call.',
    nextSteps: [list],
  },
  INVALID_RESPONSE: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'The sandbox API sent an answer that is not part of its contract.',
    retry: 'never',
    retryable: false,
    outcome: 'unknown',
    remediation:
      'Check first whether it happened. If answers stay unusable, ask the user to check that HOPX_BASE_URL is a HopX API.',
    nextSteps: [list],
  },
  UPSTREAM_ERROR: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'The sandbox API, or a proxy before it, answered with an error that has no documented meaning.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'unknown',
    remediation:
      'Check first whether it happened, because it may have, then decide whether to repeat the call.',
    nextSteps: [list],
  },
  QUEUE_FULL: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'Too many calls are waiting for the sandbox API already.',
    retry: 'never',
    retryable: true,
    outcome: 'not_performed',
    remediation: 'Wait for your other calls to finish, then make this call again in {retry_after} seconds.',
    nextSteps: [],
  },
  CANCELLED: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'The call was cancelled.',
    retry: 'never',
    retryable: true,
    outcome: 'unknown',
    remediation: 'Call again if you still need it.',
    nextSteps: [],
  },
  CONFIGURATION_ERROR: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'The server is not configured correctly.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Ask the user to correct the environment variable that the message names and to restart the server.',
    nextSteps: [],
  },
  ENGINE_UNAVAILABLE: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'This machine cannot run isolated sandboxes as it is.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Ask the user to run `hopx-sandbox-mcp doctor --fix`, or to set HOPX_API_KEY to use HopX cloud sandboxes.',
    nextSteps: [],
  },
  UNTRUSTED_HOST: {
    origin: 'ours',
    status: null,
    aliases: [],
    meaning: 'The API named a host for the sandbox that does not belong to it, so no token was sent there.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Ask the user to check HOPX_BASE_URL: the answers do not look like they come from HopX.',
    nextSteps: [],
  },
} as const satisfies Record<string, FailureRow>;

export type FailureCode = keyof typeof failures;

/** What is known of one failure beside its code; whatever is left out comes from the catalogue's row. */
export type FailureFacts = {
  /** Our own sentence; the row's meaning when left out. */
  message?: string;
  /** Text from outside: shown quoted, sanitised and short. */
  upstreamText?: string;
  upstreamCode?: string;
  remediation?: string;
  nextSteps?: readonly NextStep[];
  outcome?: Outcome;
  retryable?: boolean;
  retryAfterSeconds?: number;
  httpStatus?: number;
  requestId?: string;
  /** Method and route template, such as `POST /v1/sandboxes`. */
  endpoint?: string;
  sandboxId?: string;
  attempts?: number;
  cause?: unknown;
};

/** The only error that crosses a module's border on purpose. */
export class SandboxFailure extends Error {
  readonly code: FailureCode;
  readonly facts: FailureFacts;

  constructor(code: FailureCode, facts: FailureFacts = {}) {
    super(facts.message ?? failures[code].meaning, facts.cause === undefined ? {} : { cause: facts.cause });
    this.name = 'SandboxFailure';
    this.code = code;
    this.facts = facts;
  }

  /** The same failure with more facts known; a fact already there stays. */
  with(facts: FailureFacts): SandboxFailure {
    return new SandboxFailure(this.code, { ...facts, ...this.facts });
  }
}

const byName: ReadonlyMap<string, FailureCode> = new Map(
  failureCodes().flatMap((code) => [code, ...failures[code].aliases].map((name) => [name, code] as const)),
);

const byStatus: ReadonlyMap<number, FailureCode> = new Map([
  [400, 'INVALID_REQUEST'],
  [401, 'AUTHENTICATION_REQUIRED'],
  [402, 'PAYMENT_REQUIRED'],
  [403, 'FORBIDDEN'],
  [404, 'RESOURCE_NOT_FOUND'],
  [408, 'REQUEST_TIMEOUT'],
  [409, 'CONFLICT'],
  [410, 'SANDBOX_EXPIRED'],
  [429, 'RATE_LIMIT_EXCEEDED'],
  [500, 'INTERNAL_ERROR'],
  [503, 'SERVICE_UNAVAILABLE'],
]);

/** All codes of the catalogue, in its order. */
export function failureCodes(): FailureCode[] {
  return Object.keys(failures).filter(isFailureCode);
}

export function isFailureCode(name: string): name is FailureCode {
  return Object.hasOwn(failures, name);
}

/** The row for a code as HopX names it, or undefined where the catalogue has neither name nor alias. */
export function failureNamed(name: string | undefined): FailureCode | undefined {
  return name === undefined ? undefined : byName.get(name);
}

/** The row for a bare status; what has no documented meaning is an `UPSTREAM_ERROR`. */
export function failureForStatus(status: number): FailureCode {
  return byStatus.get(status) ?? 'UPSTREAM_ERROR';
}
