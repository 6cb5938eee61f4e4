import { type FailureCode, failures, type NextStep, type Outcome } from './failure-catalogue.ts';

export { type FailureCode, failures, type NextStep, type Outcome };

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

function isFailureCode(name: string): name is FailureCode {
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

/** Whether a failure says that what was asked for does not exist, or not any more. */
export function isGone(error: unknown): error is SandboxFailure {
  return (
    error instanceof SandboxFailure &&
    (error.code === 'RESOURCE_NOT_FOUND' || error.code === 'SANDBOX_EXPIRED')
  );
}
