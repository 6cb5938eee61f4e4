import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { instructions } from '../../src/mcp/instructions.ts';
import { tools } from '../../tools/index.ts';
import { type Session, withServer } from '../support/connect.ts';

/** What hosts have to hold in the model's context all the time; four characters are about one token. */
const MAX_LIST_CHARS = 8_000;
/** Claude Code cuts descriptions at 2,048 characters without a word. */
const MAX_DESCRIPTION_CHARS = 1_500;

const snapshotFile = new URL('definitions.snapshot.json', import.meta.url);
const toolFiles = readdirSync(new URL('../../tools/', import.meta.url));

let listed: Session['listed'] = [];
beforeAll(async () => {
  listed = await withServer({}, async (session) => session.listed);
});

test('what the model is offered is what was agreed', () => {
  const now = `${JSON.stringify(listed, null, 2)}\n`;
  if (process.env['UPDATE_SNAPSHOT'] === '1') writeFileSync(snapshotFile, now);
  const agreed = existsSync(snapshotFile) ? readFileSync(snapshotFile, 'utf8') : '[]';
  expect(
    JSON.parse(now),
    'Other people rely on the tools as they are. If the change is meant: UPDATE_SNAPSHOT=1 npx vitest run --config test/vitest.config.ts test/tools',
  ).toEqual(JSON.parse(agreed));
});

test('all of it fits into 2,000 tokens', () => {
  expect(JSON.stringify({ tools: listed }).length).toBeLessThanOrEqual(MAX_LIST_CHARS);
});

test('a tool is named after its file', () => {
  const named = tools.map(({ name }) => `${name.replaceAll('_', '-')}.ts`);
  const others = ['fields.ts', 'index.ts', 'sandbox-shape.ts', 'tool.ts'];
  expect([...named, ...others].sort()).toEqual([...toolFiles].sort());
});

type Hints = readonly [readOnly: boolean, destructive: boolean, idempotent: boolean, openWorld: boolean];

const hints: Record<string, Hints> = {
  execute_code: [false, true, false, true],
  create_sandbox: [false, false, false, true],
  delete_sandbox: [false, true, true, true],
  list_sandboxes: [true, false, true, true],
};

describe.each(tools.map(({ name }) => name))('%s', (name) => {
  const tool = () =>
    z
      .custom<Session['listed'][number]>((found) => found !== undefined)
      .parse(listed.find((one) => one.name === name));

  test('has a title and all four hints', () => {
    const { title, annotations } = tool();
    expect(title).toMatch(/^[A-Z]/);
    const [readOnlyHint, destructiveHint, idempotentHint, openWorldHint] = hints[name] ?? [];
    expect(annotations).toEqual({ title, readOnlyHint, destructiveHint, idempotentHint, openWorldHint });
  });

  test('has a name that every host takes', () => expect(name).toMatch(/^[a-z]+_[a-z]+$/));

  test('says in its first sentence what it does, and all of it in a description that no host cuts', () => {
    const { description = '' } = tool();
    expect(description.length).toBeLessThan(MAX_DESCRIPTION_CHARS);
    expect(description.split('\n')[0]).toMatch(/^[A-Z][a-z]+s .{10,120}\.$/);
  });

  test('takes one object, refuses what it does not know, and describes every field', () => {
    const { inputSchema } = tool();
    expect(inputSchema).toMatchObject({ type: 'object', additionalProperties: false });
    for (const field of Object.values(inputSchema.properties ?? {})) {
      expect(field).toMatchObject({ description: expect.stringMatching(/\.$/) });
    }
  });

  test('has schemas without references, which some hosts do not follow', () => {
    expect(JSON.stringify(tool())).not.toMatch(/\$ref|\$defs/);
  });

  test('declares a result that is valid with its payload or with an error', () => {
    const { outputSchema } = tool();
    if (name === 'execute_code') return expect(outputSchema).toBeUndefined();
    expect(outputSchema?.properties).toHaveProperty('error');
    expect(outputSchema?.required ?? []).toEqual([]);
  });
});

test('the instructions fit where descriptions fit', () => {
  expect(instructions.length).toBeLessThan(MAX_DESCRIPTION_CHARS);
});
