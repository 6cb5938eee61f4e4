import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { guestModules } from '../../../src/engine/sandbox/guest-modules.ts';

test('all of the agent is handed into the sandbox, and nothing that is not there', () => {
  const names = readdirSync('src/engine/guest').filter((name) => name.endsWith('.py'));
  expect(names.sort()).toEqual(guestModules.map((name) => `${name}.py`).sort());
});
