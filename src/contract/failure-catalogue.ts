/** Did the thing asked for happen? */
export type Outcome = 'not_performed' | 'performed' | 'unknown';

/** A call worth making after a failure; `{sandbox_id}` in an argument is filled in. */
export type NextStep = { tool: string; arguments: Readonly<Record<string, unknown>>; why: string };

type DocumentedStatus = 400 | 401 | 402 | 403 | 404 | 408 | 409 | 410 | 429 | 500 | 503;

type FailureRow = {
  /** Who coined the code. */
  origin: 'hopx' | 'ours';
  /** The HTTP status the engine answers with and the client recognises; null for what never crosses the wire. */
  status: DocumentedStatus | null;
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
  arguments: { sandbox_id: '{sandbox_id}', language: 'bash', code: 'ls -la' },
  why: 'look at what the code left behind',
};

type Described = Omit<FailureRow, 'origin' | 'status' | 'aliases' | 'nextSteps'> &
  Partial<Pick<FailureRow, 'aliases' | 'nextSteps'>>;

const hopx = (status: DocumentedStatus, row: Described): FailureRow => ({
  aliases: [],
  nextSteps: [],
  ...row,
  origin: 'hopx',
  status,
});
const ours = (row: Described): FailureRow => ({
  aliases: [],
  nextSteps: [],
  ...row,
  origin: 'ours',
  status: null,
});

/** Every failure a caller can meet, one row a code. */
export const failures = {
  AUTHENTICATION_REQUIRED: hopx(401, {
    meaning: 'HopX did not accept the request without valid credentials.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Ask the user to set HOPX_API_KEY to a valid key, or unset it to run sandboxes locally.',
  }),
  INVALID_TOKEN: hopx(401, {
    aliases: ['TOKEN_EXPIRED', 'TOKEN_INVALID', 'AUTHENTICATION_ERROR'],
    meaning: 'HopX rejected the token, also after it was refreshed.',
    retry: 'auth',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      'Create a new sandbox. If that fails too, ask the user to check whether HOPX_API_KEY was revoked.',
    nextSteps: [create],
  }),
  INVALID_REQUEST: hopx(400, {
    aliases: ['INVALID_JSON', 'MISSING_PARAMETER', 'INVALID_PATH'],
    meaning: 'The sandbox API found the request invalid.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Correct the argument that the message names, then call again.',
  }),
  RESOURCE_NOT_FOUND: hopx(404, {
    aliases: ['NOT_FOUND', 'SANDBOX_NOT_FOUND', 'PROCESS_NOT_FOUND', 'FILE_NOT_FOUND', 'DIRECTORY_NOT_FOUND'],
    meaning: 'What the call names does not exist: it was never created, or it was deleted or expired.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Use an id from list_sandboxes, or leave sandbox_id out to use the default sandbox.',
    nextSteps: [list, create],
  }),
  SANDBOX_EXPIRED: hopx(410, {
    meaning: 'The sandbox reached the end of its lifetime and is gone, with its files.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Create a new sandbox, with a larger timeout_seconds if the work takes longer.',
    nextSteps: [create],
  }),
  CONFLICT: hopx(409, {
    aliases: ['FILE_ALREADY_EXISTS', 'SANDBOX_CREATING', 'SANDBOX_STOPPED'],
    meaning: 'The request conflicts with the present state of the sandbox.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Look at its state with list_sandboxes; use another sandbox if it is not running.',
    nextSteps: [list],
  }),
  EXECUTION_TIMEOUT: hopx(408, {
    meaning: 'The code ran longer than its time limit and was stopped.',
    retry: 'never',
    retryable: false,
    outcome: 'performed',
    remediation:
      'The code ran in part: check its effects before running it again. Make it faster, split it, or pass a larger timeout_seconds.',
    nextSteps: [inspect],
  }),
  CODE_EXECUTION_ERROR: hopx(500, {
    aliases: ['EXECUTION_FAILED', 'COMMAND_FAILED'],
    meaning: 'The code ran and failed.',
    retry: 'never',
    retryable: false,
    outcome: 'performed',
    remediation: 'Read stderr, correct the code, and call execute_code again with the corrected code.',
  }),
  PAYMENT_REQUIRED: hopx(402, {
    meaning: 'The HopX account has no credit left or needs a payment method.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Ask the user to add credit in the HopX console. Repeating the call does not help.',
  }),
  RESOURCE_LIMIT_ERROR: hopx(429, {
    meaning: 'The limit of sandboxes that may exist at once is reached.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Delete a sandbox you no longer need, then call again. Waiting alone does not help.',
    nextSteps: [list],
  }),
  FORBIDDEN: hopx(403, {
    aliases: ['PATH_NOT_ALLOWED', 'PERMISSION_DENIED'],
    meaning: 'The sandbox API does not allow this.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Use only paths under /workspace and /tmp, and only sandboxes of this account.',
  }),
  RATE_LIMIT_EXCEEDED: hopx(429, {
    meaning: 'The rate limit is used up, and its end is further away than this call may take.',
    retry: 'rate',
    retryable: true,
    outcome: 'not_performed',
    remediation: 'Make the same call again after {retry_after} seconds.',
  }),
  SERVICE_UNAVAILABLE: hopx(503, {
    aliases: ['NOT_INITIALIZED', 'DESKTOP_NOT_AVAILABLE'],
    meaning: 'The sandbox service was unavailable for as long as this call could wait.',
    retry: 'refused',
    retryable: true,
    outcome: 'not_performed',
    remediation: 'Make the same call again in {retry_after} seconds.',
  }),
  INTERNAL_ERROR: hopx(500, {
    aliases: ['FILE_OPERATION_FAILED'],
    meaning: 'The sandbox service had an internal error.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'unknown',
    remediation: 'Check first whether it happened. If it keeps failing, give the user the request id.',
    nextSteps: [list],
  }),
  INVALID_ARGUMENTS: ours({
    meaning: 'An argument of the call is not valid.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Correct the named argument and call again.',
  }),
  NETWORK_ERROR: ours({
    meaning: 'The sandbox API could not be reached.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'not_performed',
    remediation: 'Call again shortly. If it keeps failing, ask the user to check network and HOPX_BASE_URL.',
  }),
  REQUEST_TIMEOUT: ours({
    meaning: 'The sandbox API did not answer in time.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'unknown',
    remediation:
      'Check first whether it happened, because it may have, then decide whether to repeat the call.',
    nextSteps: [list],
  }),
  INVALID_RESPONSE: ours({
    meaning: 'The sandbox API sent an answer that is not part of its contract.',
    retry: 'never',
    retryable: false,
    outcome: 'unknown',
    remediation: 'Check first whether it happened. If it stays so, ask the user to check HOPX_BASE_URL.',
    nextSteps: [list],
  }),
  UPSTREAM_ERROR: ours({
    meaning: 'The sandbox API, or a proxy before it, answered with an error that has no documented meaning.',
    retry: 'idempotent',
    retryable: true,
    outcome: 'unknown',
    remediation:
      'Check first whether it happened, because it may have, then decide whether to repeat the call.',
    nextSteps: [list],
  }),
  QUEUE_FULL: ours({
    meaning: 'Too many calls are waiting for the sandbox API already.',
    retry: 'never',
    retryable: true,
    outcome: 'not_performed',
    remediation: 'Wait for your other calls to finish, then make this call again in {retry_after} seconds.',
  }),
  CANCELLED: ours({
    meaning: 'The call was cancelled.',
    retry: 'never',
    retryable: true,
    outcome: 'unknown',
    remediation: 'Call again if you still need it.',
  }),
  CONFIGURATION_ERROR: ours({
    meaning: 'The server is not configured correctly.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Ask the user to correct the variable that the message names and restart the server.',
  }),
  ENGINE_UNAVAILABLE: ours({
    meaning: 'This machine cannot run isolated sandboxes as it is.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation:
      "Ask the user to run `node dist/main.js doctor --fix` in this server's folder, or set HOPX_API_KEY to use HopX cloud sandboxes.",
  }),
  UNTRUSTED_HOST: ours({
    meaning: 'The API named a host for the sandbox that does not belong to it, so no token was sent there.',
    retry: 'never',
    retryable: false,
    outcome: 'not_performed',
    remediation: 'Ask the user to check HOPX_BASE_URL: the answers do not look like they come from HopX.',
  }),
} satisfies Record<string, FailureRow>;

export type FailureCode = keyof typeof failures;
