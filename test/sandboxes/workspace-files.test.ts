import { describe, expect, test } from 'vitest';
import { SandboxFailure } from '../../src/contract/failures.ts';
import { absolutePath, mediaTypeOf } from '../../src/sandboxes/workspace-files.ts';
import { newCall } from '../support/calls.ts';
import { scriptedSandboxes } from './scripted-sandboxes.ts';

const input = { code: '1', language: 'python', sandboxId: 's1', timeoutSeconds: 5 } as const;
const png = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0]);

describe('files for a run', () => {
  test('are written before it, below the workspace unless their path is absolute', async () => {
    const { sandboxes, written, ran } = scriptedSandboxes();
    const files = [
      { path: 'data/in.csv', content: 'a,b' },
      { path: '/tmp/in.bin', contentBase64: 'AAECAw==' },
    ];
    await sandboxes.execute({ ...input, files }, newCall());
    expect(written).toEqual([
      ['/workspace/data/in.csv', 3],
      ['/tmp/in.bin', 8],
    ]);
    expect(ran).toHaveLength(1);
  });

  test('that cannot be written stop it: no code ran, and the file is named', async () => {
    const writing = () => Promise.reject(new SandboxFailure('FORBIDDEN'));
    const { sandboxes, ran } = scriptedSandboxes({ writing });
    const running = sandboxes.execute({ ...input, files: [{ path: '/etc/passwd', content: '' }] }, newCall());
    await expect(running).rejects.toMatchObject({
      code: 'FORBIDDEN',
      message: expect.stringContaining('/etc/passwd'),
      facts: { outcome: 'not_performed' },
    });
    expect(ran).toEqual([]);
  });
});

describe('files of a run', () => {
  const rows: { says: string; path: string; holds: string | Uint8Array; told: object; images?: number }[] = [
    {
      says: 'text',
      path: 'a.csv',
      holds: 'x,y',
      told: { path: '/workspace/a.csv', size: 3, media_type: 'text/csv', content: 'x,y' },
    },
    {
      says: 'long text, bounded',
      path: 'a.txt',
      holds: 'x'.repeat(9_000),
      told: { size: 9_000, truncated: true },
    },
    {
      says: 'a picture',
      path: '/tmp/a.png',
      holds: png,
      told: { media_type: 'image/png', shown_as: 'image' },
      images: 1,
    },
    {
      says: 'a picture that hosts would cut',
      path: 'a.png',
      holds: new Uint8Array(600_000),
      told: { error: expect.stringContaining('too large') },
    },
    { says: 'a few bytes', path: 'a.bin', holds: new Uint8Array([0, 1]), told: { content_base64: 'AAE=' } },
    {
      says: 'many bytes',
      path: 'a.bin',
      holds: new Uint8Array(20_000),
      told: { error: expect.stringContaining('too large') },
    },
  ];
  test.each(rows)('read back: $says', async ({ path, holds, told, images = 0 }) => {
    const { sandboxes } = scriptedSandboxes({ reading: () => holds });
    const executed = await sandboxes.execute({ ...input, readPaths: [path] }, newCall());
    expect(executed.execution.files).toMatchObject([told]);
    expect(executed.images).toHaveLength(images);
  });

  test('one that is not there says so, and costs the run nothing', async () => {
    const reading = () => {
      throw new SandboxFailure('RESOURCE_NOT_FOUND');
    };
    const { sandboxes } = scriptedSandboxes({ reading });
    const { execution } = await sandboxes.execute({ ...input, readPaths: ['no.txt'] }, newCall());
    expect(execution).toMatchObject({
      status: 'completed',
      files: [{ path: '/workspace/no.txt', error: expect.stringContaining('RESOURCE_NOT_FOUND') }],
    });
  });

  test('made or changed ones are listed as the engine tells them', async () => {
    const running = async () => ({
      reply: { success: true, exit_code: 0, artifacts: [{ path: '/workspace/out.json', size: 2 }] },
    });
    const { execution } = await scriptedSandboxes({ running }).sandboxes.execute(input, newCall());
    expect(execution.artifacts).toEqual([
      { path: '/workspace/out.json', size: 2, media_type: 'application/json' },
    ]);
  });

  test('or as find sees them, where the API does not tell and files matter', async () => {
    const { sandboxes } = scriptedSandboxes({ finding: '12 /workspace/a b.txt\n' });
    const asked = await sandboxes.execute({ ...input, readPaths: [] }, newCall());
    expect(asked.execution.artifacts).toEqual([
      { path: '/workspace/a b.txt', size: 12, media_type: 'text/plain' },
    ]);
    const unasked = await sandboxes.execute(input, newCall());
    expect(unasked.execution.artifacts).toBeUndefined();
  });
});

test('output so far goes with a run that is still going, and with one whose end was lost', async () => {
  const lost = new SandboxFailure('NETWORK_ERROR', { outcome: 'unknown' });
  const { sandboxes } = scriptedSandboxes({ printing: 'so far\n', running: () => Promise.reject(lost) });
  const { execution, failure } = await sandboxes.execute(input, newCall());
  expect(execution).toMatchObject({ status: 'failed', stdout: 'so far\n' });
  expect(failure).toMatchObject({ code: 'NETWORK_ERROR', facts: { outcome: 'unknown' } });

  const never = scriptedSandboxes({ printing: 'so far\n', running: () => new Promise(() => {}) });
  const running = await never.sandboxes.execute(input, newCall({ budgetMs: 400 }));
  expect(running.execution).toMatchObject({ status: 'running', stdout: 'so far\n' });
});

test('media types go by the name', () => {
  expect(['a.PNG', 'b.tar.gz', 'c', 'd.csv'].map(mediaTypeOf)).toEqual([
    'image/png',
    'application/octet-stream',
    'application/octet-stream',
    'text/csv',
  ]);
  expect(['a', '/tmp/a'].map(absolutePath)).toEqual(['/workspace/a', '/tmp/a']);
});
