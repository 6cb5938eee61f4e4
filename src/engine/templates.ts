import { SandboxFailure } from '../contract/failures.ts';
import type { CreateRequest } from '../contract/hopx.ts';

export type Template = { id: string; name: string };

/** HopX's two public templates (hopx-api §3.5); `base` has no documented id. Here both have the same tools. */
const templates: readonly Template[] = [
  { id: '73', name: 'code-interpreter' },
  { id: 'base', name: 'base' },
];

/** The template that a create request selects, by id or by name in either field, as HopX's own samples do. */
export function selectTemplate(request: Pick<CreateRequest, 'template_id' | 'template_name'>): Template {
  const selector = request.template_id ?? request.template_name;
  if (selector === undefined) {
    throw new SandboxFailure('INVALID_REQUEST', {
      message: 'Either template_id or template_name must be provided',
    });
  }
  const wanted = String(selector);
  const template = templates.find(({ id, name }) => id === wanted || name === wanted);
  if (template !== undefined) return template;
  const names = templates.map(({ name }) => name).join(', ');
  throw new SandboxFailure('RESOURCE_NOT_FOUND', { message: `Template not found; this engine has ${names}` });
}
