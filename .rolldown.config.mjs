import { cpSync, rmSync } from 'node:fs';

rmSync('dist', { recursive: true, force: true });
cpSync('src/engine/guest', 'dist/guest', { recursive: true });

/**
 * The SDK loads Ajv at start, for answers to questions that this server never asks, and for the demo's own
 * client: 20 ms and 120 kB for nothing. The tests use the SDK's client as it is, which checks every result.
 */
const withoutAjv = {
  name: 'without-ajv',
  resolveId: (source) => (source.endsWith('/validation/ajv-provider.js') ? '\0no-ajv' : null),
  load: (id) =>
    id === '\0no-ajv'
      ? 'export class AjvJsonSchemaValidator { getValidator() { return (data) => ({ valid: true, data }); } }'
      : null,
};

export default {
  input: 'src/main.ts',
  plugins: [withoutAjv],
  platform: 'node',
  output: {
    dir: 'dist',
    format: 'esm',
    minify: true,
    chunkFileNames: '[name].js',
    comments: { legal: true },
  },
};
