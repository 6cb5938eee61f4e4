import { readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/**
 * Who may import whom. A file belongs to the layer with the longest path that its own begins with; inside its
 * layer it may import everything. `types` are folders and packages for `import type` only, and `node:` stands
 * for all that Node brings along.
 */
type Layer = { imports: readonly string[]; types?: readonly string[]; packages: readonly string[] };

const base = ['src/contract/', 'src/log.ts'];
const sdk = '@modelcontextprotocol/sdk';

const layers: Record<string, Layer> = {
  'tools/': { imports: [], types: ['src/contract/', 'src/sandboxes/'], packages: ['zod'] },
  'src/contract/': { imports: [], packages: ['zod'] },
  'src/log.ts': { imports: [], packages: [] },
  'src/redactor.ts': { imports: [], packages: [] },
  'src/config.ts': { imports: base, packages: ['zod'] },
  'src/mcp/': {
    imports: [...base, 'src/sandboxes/'],
    types: ['tools/'],
    packages: ['node:util', 'zod', sdk],
  },
  'src/sandboxes/': { imports: base, types: ['src/client/'], packages: ['node:', 'zod'] },
  'src/client/': { imports: base, packages: ['node:', 'zod'] },
  'src/client/transport.ts': { imports: [...base, 'src/client/'], packages: ['node:', 'undici'] },
  'src/client/socket-run.ts': { imports: [...base, 'src/client/'], packages: ['node:', 'ws', 'zod'] },
  'src/client/lane.ts': { imports: [...base, 'src/client/'], packages: ['node:', 'p-queue'] },
  'src/client/fair-queue.ts': { imports: ['src/client/'], types: ['p-queue'], packages: [] },
  'src/engine/': {
    imports: base,
    packages: ['node:', 'zod', 'hono', '@hono/node-server', 'jose', 'ws', '@fastify/busboy'],
  },
  'src/engine/sandbox/': { imports: base, packages: ['node:', 'zod'] },
  'src/commands/': {
    imports: [...base, 'src/config.ts', 'src/client/', 'src/engine/', 'src/mcp/'],
    packages: ['node:', 'zod'],
  },
  'src/main.ts': { imports: ['src/', 'tools/', 'package.json'], packages: ['node:'] },
};

const MAX_LINES = 250;

/** Where output may be written: stdout belongs to JSON-RPC. */
const mayWriteOut = /^src\/(main\.ts|commands\/|mcp\/stdio\.ts)/;

type Import = { from: string; isType: boolean };

/** Imports of a module: static, re-exported, dynamic, and those that types are taken from. */
function importsOf(source: string): Import[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const statements = code.matchAll(
    /^\s*(?:import|export)\b(\s+type\b)?(?:[^'"`;]*?\bfrom)?\s*(['"])(.+?)\2/gm,
  );
  const calls = code.matchAll(/(\btypeof\s+)?\b(?:import|require)\s*\(\s*(['"`])(.+?)\2/g);
  return [...statements, ...calls].map(([, type, , from = '']) => ({ from, isType: type !== undefined }));
}

/** Whether a file is in a folder, or a module in a package. */
function isPartOf(target: string, owner: string): boolean {
  return target === owner || target.startsWith(owner.endsWith('/') ? owner : `${owner}/`);
}

function layerOf(file: string): string | undefined {
  const holding = Object.keys(layers).filter((layer) => isPartOf(file, layer));
  return holding.sort((a, b) => b.length - a.length)[0];
}

/** Every import of a file that its layer does not allow, in words. */
function trespasses(file: string, source: string): string[] {
  const name = layerOf(file);
  const layer = layers[name ?? ''];
  if (name === undefined || layer === undefined) return [`${file} belongs to no layer`];
  return importsOf(source).flatMap(({ from, isType }) => {
    const target = from.startsWith('.') ? posix.join(posix.dirname(file), from) : from;
    const allowed = [name, ...layer.imports, ...layer.packages, ...(isType ? (layer.types ?? []) : [])];
    const isAllowed =
      (isBuiltin(from) && allowed.includes('node:')) || allowed.some((owner) => isPartOf(target, owner));
    return isAllowed ? [] : [`${file} imports ${isType ? 'types of ' : ''}${target}`];
  });
}

/** Code alone: a program for a sandbox is text here. */
function withoutTexts(source: string): string {
  return source
    .replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
    .replace(/'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g, "''");
}

/** What stands in a file and must not, by rule. */
function blemishes(file: string, source: string): string[] {
  const lines = source.split('\n').length - 1;
  return [
    ...(lines > MAX_LINES ? [`${file} has ${lines} lines`] : []),
    ...(/\bconsole\.\w|process\.stdout\.write/.test(withoutTexts(source)) && !mayWriteOut.test(file)
      ? [`${file} writes to stdout`]
      : []),
  ];
}

// Put together here, so that this file does not contain what it looks for.
const foreign = new RegExp(
  [
    ['registry', 'npmjs'].join('\\.'),
    ['files', 'pythonhosted'].join('\\.'),
    ['proxy', 'golang', 'org'].join('\\.'),
    ['deb', 'debian', 'org'].join('\\.'),
    ['', 'work', '(main|shared|notes)'].join('/'),
    ['', 'root', ''].join('/'),
  ].join('|'),
);

/** Names of registry hosts and of paths on the machine where a file was written. */
function foreigners(file: string, text: string): string[] {
  const found = foreign.exec(text);
  return found === null ? [] : [`${file} names ${found[0]}`];
}

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (file: string) => readFileSync(`${root}${file}`, 'utf8');
// As .gitignore has it; git itself may be missing where this was unpacked.
const notOurs = ['node_modules', 'dist', '.git'];
const files = readdirSync(root, { withFileTypes: true })
  .filter(({ name }) => !notOurs.includes(name))
  .flatMap((entry) => (entry.isDirectory() ? filesBelow(entry.name) : [entry.name]));
const sources = files.filter((file) => /^(src|tools)\/.*\.ts$/.test(file));
const guest = files.filter((file) => /^src\/engine\/guest\/.*\.py$/.test(file));

function filesBelow(folder: string): string[] {
  return readdirSync(`${root}${folder}`, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => posix.relative(root, posix.join(parentPath, name)));
}

describe('the house', () => {
  test('has files', () => {
    expect(sources.length).toBeGreaterThan(20);
    expect(guest.length).toBeGreaterThan(10);
  });

  test('keeps its layers apart', () => {
    expect(sources.flatMap((file) => trespasses(file, read(file)))).toEqual([]);
  });

  test('keeps its files short, and stdout to the protocol', () => {
    expect([...sources, ...guest].flatMap((file) => blemishes(file, read(file)))).toEqual([]);
  });

  test('names no registry and no path of one machine', () => {
    expect(files.flatMap((file) => foreigners(file, read(file)))).toEqual([]);
  });

  test('has no layer that nobody needs', () => {
    const needed = new Set(sources.map(layerOf));
    expect(Object.keys(layers).filter((layer) => !needed.has(layer))).toEqual([]);
  });
});

describe('the guard sees', () => {
  const planted: readonly (readonly [
    says: string,
    file: string,
    source: string,
    found: readonly string[],
  ])[] = [
    [
      'the wall crossed by types',
      'src/engine/a.ts',
      `import type { B } from '../client/b.ts';`,
      ['src/engine/a.ts imports types of src/client/b.ts'],
    ],
    [
      'and the other way',
      'src/client/a.ts',
      `import { b } from '../engine/b.ts';`,
      ['src/client/a.ts imports src/engine/b.ts'],
    ],
    [
      'a dynamic import',
      'src/contract/a.ts',
      `const b = await import("../engine/b.ts");`,
      ['src/contract/a.ts imports src/engine/b.ts'],
    ],
    [
      'a dynamic import over lines',
      'src/client/a.ts',
      'import(\n  `../engine/b.ts`\n)',
      ['src/client/a.ts imports src/engine/b.ts'],
    ],
    [
      'a type that is an import',
      'src/client/a.ts',
      `type B = typeof import('../engine/b.ts');`,
      ['src/client/a.ts imports types of src/engine/b.ts'],
    ],
    [
      'everything re-exported',
      'src/mcp/a.ts',
      `export * from '../engine/b.ts';`,
      ['src/mcp/a.ts imports src/engine/b.ts'],
    ],
    [
      'some re-exported',
      'src/engine/a.ts',
      `export { b } from "../client/b.ts";`,
      ['src/engine/a.ts imports src/client/b.ts'],
    ],
    [
      'an import for its effect',
      'src/engine/a.ts',
      `import '../client/b.ts';`,
      ['src/engine/a.ts imports src/client/b.ts'],
    ],
    [
      'an import over lines',
      'src/engine/a.ts',
      `import {\n  a,\n  type b,\n} from '../client/b.ts';`,
      ['src/engine/a.ts imports src/client/b.ts'],
    ],
    [
      'a value taken by a tool',
      'tools/a.ts',
      `import { a } from '../src/contract/a.ts';`,
      ['tools/a.ts imports src/contract/a.ts'],
    ],
    [
      'a type among values',
      'tools/a.ts',
      `import { type A } from '../src/contract/a.ts';`,
      ['tools/a.ts imports src/contract/a.ts'],
    ],
    ['Node in a tool', 'tools/a.ts', `import { join } from 'node:path';`, ['tools/a.ts imports node:path']],
    [
      'Node by its old name',
      'src/contract/a.ts',
      `import { join } from 'path';`,
      ['src/contract/a.ts imports path'],
    ],
    [
      'the SDK outside its folder',
      'src/commands/a.ts',
      `import type { T } from '@modelcontextprotocol/sdk/types.js';`,
      ['src/commands/a.ts imports types of @modelcontextprotocol/sdk/types.js'],
    ],
    [
      'undici beside the transport',
      'src/client/a.ts',
      `import { Agent } from 'undici';`,
      ['src/client/a.ts imports undici'],
    ],
    [
      'p-queue beside the lane',
      'src/client/transport.ts',
      `import PQueue from 'p-queue';`,
      ['src/client/transport.ts imports p-queue'],
    ],
    [
      'a package with a like name',
      'tools/a.ts',
      `import { z } from 'zodiac';`,
      ['tools/a.ts imports zodiac'],
    ],
    ['a stray file', 'src/utils.ts', '', ['src/utils.ts belongs to no layer']],
    ['a stray folder', 'src/common/a.ts', '', ['src/common/a.ts belongs to no layer']],
    [
      'nothing in what is allowed',
      'tools/a.ts',
      `import { z } from 'zod';\nimport type { A } from '../src/contract/a.ts';\nimport { b } from './b.ts';`,
      [],
    ],
    [
      'nothing in comments',
      'tools/a.ts',
      `// import { a } from '../src/engine/a.ts';\n/* import('../src/engine/a.ts') */`,
      [],
    ],
  ];
  test.each(planted)('%s', (_says, file, source, found) => expect(trespasses(file, source)).toEqual(found));

  test.each([
    ['a long file', 'src/client/a.ts', '\n'.repeat(251), ['src/client/a.ts has 251 lines']],
    ['a file at the limit', 'src/client/a.ts', '\n'.repeat(250), []],
    ['a log to stdout', 'src/client/a.ts', 'console.log(1)', ['src/client/a.ts writes to stdout']],
    [
      'a write to stdout',
      'src/mcp/server.ts',
      'process.stdout.write("a")',
      ['src/mcp/server.ts writes to stdout'],
    ],
    ['nothing in a program for a sandbox', 'src/client/a.ts', `run('console.log(1)', "it's")`, []],
    ['a command, which may', 'src/commands/a.ts', 'process.stdout.write("a")', []],
  ] as const)('%s', (_says, file, source, found) => expect(blemishes(file, source)).toEqual(found));

  test.each([
    ['a registry', `"resolved": "https://${['registry', 'npmjs', 'org'].join('.')}/a"`, true],
    ['a path of one machine', `see ${['', 'work', 'main'].join('/')}/src`, true],
    ['a home', `cd ${['', 'root', 'x'].join('/')}`, true],
    ['nothing in a path of a sandbox', '/workspace/a and /tmp/b', false],
  ] as const)('%s', (_says, text, isFound) => expect(foreigners('a', text).length > 0).toBe(isFound));
});
