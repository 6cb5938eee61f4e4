import { SandboxFailure } from '../contract/failures.ts';
import type { CreateRequest } from '../contract/hopx.ts';

export type Template = { id: string; name: string; displayName: string; description: string };

/** HopX's two public templates ; `base` has no documented id. Here both have the same tools. */
export const templates: readonly Template[] = [
  {
    id: '73',
    name: 'code-interpreter',
    displayName: 'Code Interpreter',
    description: 'Runs code and keeps the variables of Python runs',
  },
  { id: 'base', name: 'base', displayName: 'Base', description: 'A plain Linux system' },
];

/** The template with this id or name; throws `RESOURCE_NOT_FOUND`. */
export function findTemplate(wanted: string): Template {
  const template = templates.find(({ id, name }) => id === wanted || name === wanted);
  if (template !== undefined) return template;
  const names = templates.map(({ name }) => name).join(', ');
  throw new SandboxFailure('RESOURCE_NOT_FOUND', { message: `Template not found; this engine has ${names}` });
}

/** The template that a create request selects, by id or by name in either field, as HopX's own samples do. */
export function selectTemplate(request: Pick<CreateRequest, 'template_id' | 'template_name'>): Template {
  const selector = request.template_id ?? request.template_name;
  if (selector !== undefined) return findTemplate(String(selector));
  throw new SandboxFailure('INVALID_REQUEST', {
    message: 'Either template_id or template_name must be provided',
  });
}
