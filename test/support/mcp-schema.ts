import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import { z } from 'zod';

const schemaFile = new URL('schema/mcp-2025-11-25.json', import.meta.url);

/** What answers each request that these tests send. */
const resultOf: ReadonlyMap<string, string> = new Map([
  ['initialize', 'InitializeResult'],
  ['ping', 'EmptyResult'],
  ['tools/list', 'ListToolsResult'],
  ['tools/call', 'CallToolResult'],
]);

const envelope = z.looseObject({
  id: z.union([z.string(), z.number()]).optional(),
  method: z.string().optional(),
  result: z.unknown().optional(),
});

const ajv = new Ajv2020({ strict: false });
formats.default(ajv);
ajv.addSchema(JSON.parse(readFileSync(schemaFile, 'utf8')), 'mcp');

/** Checks frames of one session, in both directions, against the published schema of the protocol. */
export function createFrameChecker(): {
  check(from: 'client' | 'server', frame: unknown): void;
  frames: unknown[];
  problems: string[];
} {
  const asked = new Map<string | number, string>();
  const frames: unknown[] = [];
  const problems: string[] = [];

  const mustBe = (definition: string, value: unknown, frame: unknown) => {
    const validate = ajv.getSchema(`mcp#/$defs/${definition}`);
    if (validate === undefined) throw new Error(`the schema has no ${definition}`);
    if (validate(value)) return;
    problems.push(
      `${definition}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(frame).slice(0, 300)}`,
    );
  };

  return {
    frames,
    problems,
    check(from, frame) {
      frames.push(frame);
      mustBe('JSONRPCMessage', frame, frame);
      const { id, method, result } = envelope.parse(frame);
      const sender = from === 'client' ? 'Client' : 'Server';
      if (method !== undefined && id !== undefined) {
        asked.set(id, method);
        mustBe(`${sender}Request`, frame, frame);
      } else if (method !== undefined) {
        mustBe(`${sender}Notification`, frame, frame);
      } else if (id !== undefined && result !== undefined) {
        const definition = resultOf.get(asked.get(id) ?? '');
        if (definition === undefined)
          problems.push(`an answer to nothing that was asked: ${JSON.stringify(frame)}`);
        else mustBe(definition, result, frame);
      }
    },
  };
}
