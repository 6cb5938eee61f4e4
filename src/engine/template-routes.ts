import { Hono } from 'hono';
import { z } from 'zod';
import { SandboxFailure } from '../contract/failures.ts';
import type { Site } from './control-routes.ts';
import { type ApiEnv, reply } from './http-reply.ts';
import { check, readBody } from './request-body.ts';
import { findTemplate, type Template, templates } from './templates.ts';

const listQuery = z.object({ category: z.string().optional(), language: z.string().optional() });

const buildRequest = z.looseObject({ name: z.string().min(1), update: z.boolean().optional() });

const CATEGORY = 'development';
const LANGUAGE = 'python';
/** When this engine's templates were made: with the engine. */
const MADE_AT = '2025-01-01T00:00:00Z';

/** The routes under `/v1/templates`: two templates to use, none to build. */
export function templateRoutes({ resources }: Pick<Site, 'resources'>): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();

  const size = {
    vcpu: resources.vcpu,
    memory_mb: resources.memory_mb,
    disk_gb: Math.max(1, Math.round(resources.disk_mb / 1024)),
  };
  const describe = ({ id, name, displayName, description }: Template) => ({
    id,
    object: 'template',
    name,
    display_name: displayName,
    description,
    category: CATEGORY,
    language: LANGUAGE,
    icon: '',
    default_resources: size,
    min_resources: size,
    max_resources: size,
    features: [],
    tags: [],
    popularity_score: 0,
    docs_url: '',
    is_active: true,
    is_public: true,
    status: 'active',
    build_id: '',
    organization_id: '0',
    created_at: MADE_AT,
    updated_at: MADE_AT,
  });

  routes.get('/', (c) => {
    const { category = CATEGORY, language = LANGUAGE } = check(listQuery, c.req.query());
    const found = category === CATEGORY && language === LANGUAGE ? templates : [];
    return reply(c, { object: 'list', data: found.map(describe), has_more: false, url: '/v1/templates' });
  });

  routes.post('/build', async (c) => {
    const { name, update = false } = await readBody(c.req.raw, buildRequest);
    if (!update && templates.some((template) => template.name === name)) {
      throw new SandboxFailure('CONFLICT', {
        message: 'Template already exists. Set update=true to update it.',
      });
    }
    throw notHere('Templates cannot be built on this engine');
  });
  routes.get('/build/:id/status', () => {
    throw new SandboxFailure('RESOURCE_NOT_FOUND', { message: 'Build not found' });
  });
  routes.get('/build/:id/logs', () => {
    throw new SandboxFailure('RESOURCE_NOT_FOUND', { message: 'Build not found' });
  });
  routes.post('/files/upload-link', () => {
    throw notHere('Templates cannot be built on this engine');
  });

  routes.get('/:name', (c) => reply(c, describe(findTemplate(c.req.param('name')))));
  routes.delete('/:id', (c) => {
    findTemplate(c.req.param('id'));
    throw notHere('Public templates cannot be deleted');
  });

  return routes;
}

function notHere(message: string): SandboxFailure {
  return new SandboxFailure('FORBIDDEN', { message });
}
