import { cpSync, rmSync } from 'node:fs';

rmSync('dist', { recursive: true, force: true });
cpSync('src/engine/guest', 'dist/guest', { recursive: true });

export default {
  input: 'src/main.ts',
  platform: 'node',
  output: {
    dir: 'dist',
    format: 'esm',
    minify: true,
    chunkFileNames: '[name].js',
    comments: { legal: true },
  },
};
