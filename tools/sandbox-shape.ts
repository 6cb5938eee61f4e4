import { z } from 'zod';
import type { Sandbox } from '../src/contract/results.ts';

/** A sandbox as results describe it to a host; open, so that a member may be added. */
export const sandboxShape = z.looseObject({
  sandbox_id: z.string(),
  status: z.string(),
  template: z.string(),
  backend: z.string(),
  isolation: z.string(),
  internet_access: z.boolean(),
  languages: z.array(z.string()),
  workdir: z.string(),
  created_at: z.string().nullable(),
  expires_at: z.string().nullable(),
});

/** The same in one line for a model that reads text. */
export function describeSandbox(sandbox: Sandbox): string {
  return [
    `${sandbox.sandbox_id}: ${sandbox.status}`,
    `template ${sandbox.template}`,
    `languages ${sandbox.languages.join(', ')}`,
    `workdir ${sandbox.workdir}`,
    `internet ${sandbox.internet_access ? 'on' : 'off'}`,
    `created ${sandbox.created_at ?? 'at an unknown time'}`,
    `expires ${sandbox.expires_at ?? 'never'}`,
    `backend ${sandbox.backend}, isolation: ${sandbox.isolation}`,
  ].join('; ');
}
