import { z } from 'zod';

/**
 * What HopX's OpenAPI files (control plane 2025-10-21, agent 3.2.8) and documents say its answers hold, in our
 * words; everything that an answer here always has is required.
 */

const time = z.iso.datetime();
const text = z.string();
const count = z.int().nonnegative();
const requestId = z.string().regex(/^req_/);
const shape = <Fields extends z.ZodRawShape>(fields: Fields) =>
  z.looseObject({ ...fields, request_id: requestId });

const resources = z.looseObject({ vcpu: count, memory_mb: count });

export const sandbox = z.looseObject({
  id: text,
  object: z.literal('sandbox'),
  organization_id: z.int(),
  node_id: text,
  region: text,
  status: z.enum(['creating', 'running', 'stopped', 'paused', 'error', 'deleted']),
  public_host: z.url(),
  direct_url: z.url(),
  template_id: text,
  template_name: text,
  resources: resources.extend({ disk_mb: count }),
  internet_access: z.boolean(),
  live_mode: z.boolean(),
  timeout_seconds: z.int().nullable(),
  expires_at: time.nullable(),
  created_at: time,
});
export const createdSandbox = sandbox.extend({
  auth_token: text,
  token_expires_at: time,
  request_id: requestId,
});
export const sandboxList = shape({
  object: z.literal('list'),
  data: z.array(sandbox),
  has_more: z.boolean(),
  url: text,
});
export const stateChange = shape({ id: text, status: text });
export const timeoutChange = shape({ id: text, timeout_seconds: z.int(), expires_at: time });
export const token = shape({ auth_token: text, token_expires_at: time });

const templateResources = resources.extend({ disk_gb: count });
const template = z.looseObject({
  id: text,
  object: z.literal('template'),
  name: text,
  display_name: text,
  description: text,
  category: text,
  language: text,
  default_resources: templateResources,
  min_resources: templateResources,
  max_resources: templateResources,
  features: z.array(text),
  tags: z.array(text),
  is_active: z.boolean(),
  is_public: z.boolean(),
  status: z.enum(['pending', 'building', 'publishing', 'active', 'failed', 'archived']),
  organization_id: text,
  created_at: time,
  updated_at: time,
});
export const oneTemplate = template.extend({ request_id: requestId });
export const templateList = shape({
  object: z.literal('list'),
  data: z.array(template),
  has_more: z.boolean(),
  url: text,
});

const output = {
  success: z.boolean(),
  stdout: text,
  stderr: text,
  exit_code: z.int(),
  execution_time: z.number(),
};
export const executed = shape({
  ...output,
  timestamp: time,
  language: text,
  result: text.optional(),
  png: text.optional(),
  svg: text.optional(),
  html: text.optional(),
  markdown: text.optional(),
  json: z.looseObject({}).optional(),
});
export const command = shape({ ...output, command: text, timestamp: time });
export const background = shape({
  process_id: text,
  execution_id: text,
  status: z.enum(['queued', 'running']),
  start_time: time,
  message: text,
  name: text,
});
export const queued = shape({
  execution_id: text,
  status: z.literal('queued'),
  callback_url: z.url(),
  message: text,
  timestamp: time,
});
export const processList = shape({
  processes: z.array(
    z.looseObject({
      process_id: text,
      execution_id: text,
      name: text,
      status: z.enum(['queued', 'running', 'completed', 'failed', 'killed', 'timeout']),
      language: text,
      start_time: time,
      end_time: time.nullable(),
      exit_code: z.int().nullable(),
      duration: z.number(),
    }),
  ),
  count,
  timestamp: time,
});
export const killed = shape({ process_id: text, status: z.literal('killed'), message: text });
export const systemProcesses = shape({
  processes: z.array(
    z.looseObject({
      pid: count,
      name: text,
      status: text,
      cpu_percent: z.number(),
      memory_mb: z.number(),
      command: text,
    }),
  ),
});

export const fileContent = shape({ content: text, path: text, size: count });
export const fileList = shape({
  files: z.array(
    z.looseObject({
      name: text,
      path: text,
      size: count,
      is_directory: z.boolean(),
      modified_time: time,
      permissions: text,
    }),
  ),
  path: text,
  count,
});
export const fileChange = shape({ path: text, success: z.literal(true), message: text, timestamp: time });
export const exists = shape({ exists: z.boolean(), path: text });
export const env = shape({ env_vars: z.record(text, text), count, timestamp: time });

export const health = z.looseObject({ status: z.literal('healthy') });
export const info = shape({
  vm_id: text,
  agent: text,
  version: text,
  platform: text,
  ip: text,
  port: text,
  start_time: time,
});
export const system = shape({
  os: z.looseObject({ kernel: text }),
  hardware: z.looseObject({ cpu_cores: count }),
});
export const metrics = shape({
  uptime_seconds: count,
  total_requests: count,
  total_errors: count,
  active_executions: count,
  total_executions: count,
  requests_total: z.record(text, count),
  error_count: count,
  avg_duration_ms: z.record(text, z.number()),
  p95_duration_ms: z.record(text, z.number()),
});
export const cache = shape({ cache: z.looseObject({ size: count }), timestamp: time });
export const sessions = shape({ sessions: z.array(z.looseObject({})) });
