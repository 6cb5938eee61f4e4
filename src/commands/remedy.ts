import { failures, type SandboxFailure } from '../contract/failures.ts';

/** What mends a failure, said to the user: the catalogue and the engine say it to a model. */
export function remedyFor({ code, facts }: SandboxFailure): string {
  const told = facts.remediation ?? failures[code].remediation;
  return told.replace(/(a)sk the user to (\w)/gi, (_, ask: string, verb: string) =>
    ask === 'A' ? verb.toUpperCase() : verb,
  );
}
