import { type FailureCode, type FailureFacts, SandboxFailure } from '../contract/failures.ts';

/** A failure whose reply says more than the catalogue does. */
export class EngineFailure extends SandboxFailure {
  /** Fields of the body beside the error's own. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: FailureCode, facts: FailureFacts, details: Readonly<Record<string, unknown>>) {
    super(code, facts);
    this.name = 'EngineFailure';
    this.details = details;
  }
}

/** `INVALID_REQUEST` in the words of HopX's error page. */
export function invalidRequest(what: string, facts: FailureFacts = {}): SandboxFailure {
  return new SandboxFailure('INVALID_REQUEST', { ...facts, message: `Invalid request: ${what}` });
}
