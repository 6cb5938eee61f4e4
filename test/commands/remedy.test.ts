import { expect, test } from 'vitest';
import { remedyFor } from '../../src/commands/remedy.ts';
import { failureCodes, SandboxFailure } from '../../src/contract/failures.ts';

test.each([
  ['Ask the user to run `a`, or set B.', 'Run `a`, or set B.'],
  ['Call again. If it fails, ask the user to check B.', 'Call again. If it fails, check B.'],
  ['Install it.', 'Install it.'],
])('"%s" is said to the user as "%s"', (remediation, said) => {
  expect(remedyFor(new SandboxFailure('ENGINE_UNAVAILABLE', { remediation }))).toBe(said);
});

test('no remedy of the catalogue sends the user to the user', () => {
  for (const code of failureCodes()) expect(remedyFor(new SandboxFailure(code))).not.toMatch(/ask the user/i);
});
