import { stripVTControlCharacters } from 'node:util';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import type { Answer } from '../../tools/tool.ts';
import type { Call } from '../contract/call.ts';
import { failures, type NextStep, type Outcome, type SandboxFailure } from '../contract/failures.ts';
import type { Image } from '../contract/results.ts';
import { boundOutput } from '../sandboxes/bounded-output.ts';

/** Takes the secrets out of a text. */
type Redact = (text: string) => string;

/** What a call has cost, as results tell it. */
export type CallFacts = { attempts: number; queued_ms: number; elapsed_ms: number };

/** Hosts cut the text of an error at about 11,000 characters. */
const MAX_FAILURE_CHARS = 8_000;
/** A sentence of foreign text says enough, and leaves little room for instructions. */
const MAX_UPSTREAM_CHARS = 200;

const whatHappened: Record<Outcome, string> = {
  not_performed: 'Nothing was done; no code ran.',
  performed: 'It was done: the code ran.',
  unknown: 'It is not known whether it was done.',
};

/** What a tool answers, whole in both forms; images take the place of the structured one. */
export function renderAnswer(answer: Answer, facts: CallFacts, at: Date, redact: Redact): CallToolResult {
  const { failure, images = [], payload } = answer;
  if (failure !== undefined) return renderFailure(failure, facts, at, redact, answer);
  const text = stripVTControlCharacters(answer.text);
  if (images.length === 0) return result(text, { ...payload, call: facts });
  // Several hosts show the model nothing but structuredContent where there is one, and drop the images.
  const cost = `call: attempts=${facts.attempts} queued_ms=${facts.queued_ms} elapsed_ms=${facts.elapsed_ms}`;
  return { content: [{ type: 'text', text: `${text}\n${cost}` }, ...imageBlocks(images)] };
}

/** A failure in both forms; what the call has to show all the same comes beside it. */
export function renderFailure(
  failure: SandboxFailure,
  facts: CallFacts,
  at: Date,
  redact: Redact,
  beside?: Answer,
): CallToolResult {
  const report = reportOf(failure, facts, at, redact);
  const lines = [
    `${report.code}: ${report.message}`,
    `What happened: ${whatHappened[report.outcome]}`,
    `What to do: ${report.remediation}`,
    ...report.next_steps.map(
      ({ tool, arguments: args, why }) => `Next: ${tool} ${JSON.stringify(args)} (${why})`,
    ),
    [
      `code=${report.code}`,
      `retryable=${report.retryable}`,
      `retry_after_seconds=${report.retry_after_seconds ?? 'none'}`,
      `outcome=${report.outcome}`,
      `request_id=${report.request_id ?? 'none'}`,
      `endpoint=${report.endpoint ?? 'none'}`,
      `status=${report.http_status ?? 'none'}`,
      `timestamp=${report.timestamp}`,
    ].join(' '),
    ...(beside === undefined ? [] : [beside.text]),
  ];
  // Its end are files, which the sandbox has as well.
  const text = boundOutput(lines.join('\n'), MAX_FAILURE_CHARS, 1).shown;
  const { content, structuredContent } = result(text, { ...beside?.payload, error: report, call: facts });
  return { content: [...content, ...imageBlocks(beside?.images ?? [])], structuredContent, isError: true };
}

function imageBlocks(images: readonly Image[]) {
  return images.map(({ base64, mediaType }) => ({
    type: 'image' as const,
    data: base64,
    mimeType: mediaType,
  }));
}

function result(text: string, structuredContent: Record<string, unknown>) {
  return { content: [{ type: 'text' as const, text }], structuredContent };
}

function reportOf({ code, facts, message }: SandboxFailure, call: CallFacts, at: Date, redact: Redact) {
  const row = failures[code];
  // Before it is cut: half a secret is not recognised.
  const quote = (text: string) => oneLine(redact(text));
  const quoted = facts.upstreamText === undefined ? '' : quote(facts.upstreamText);
  const retryAfter = facts.retryAfterSeconds;
  const upstreamCode = facts.upstreamCode === code ? undefined : facts.upstreamCode;
  return {
    code,
    message: quoted === '' ? message : `${message} Reported: "${quoted}"`,
    remediation: (facts.remediation ?? row.remediation).replace(
      '{retry_after}',
      String(retryAfter ?? 'a few'),
    ),
    next_steps: (facts.nextSteps ?? row.nextSteps).flatMap((step) => fill(step, facts.sandboxId)),
    retryable: facts.retryable ?? row.retryable,
    retry_after_seconds: retryAfter ?? null,
    outcome: facts.outcome ?? row.outcome,
    http_status: facts.httpStatus ?? null,
    request_id: facts.requestId === undefined ? null : quote(facts.requestId),
    endpoint: facts.endpoint ?? null,
    timestamp: at.toISOString(),
    attempts: facts.attempts ?? call.attempts,
    ...(upstreamCode !== undefined && { upstream_code: quote(upstreamCode) }),
  };
}

/** A step that needs a sandbox id which is not known is no help. */
function fill(step: NextStep, sandboxId: string | undefined): NextStep[] {
  const filled = Object.entries(step.arguments).map(
    ([name, value]) => [name, value === '{sandbox_id}' ? sandboxId : value] as const,
  );
  if (filled.some(([, value]) => value === undefined)) return [];
  return [{ ...step, arguments: Object.fromEntries(filled) }];
}

/** Foreign text may hold instructions: one short line without quotes or control characters reads as a quotation. */
function oneLine(text: string): string {
  const line = text
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .replaceAll('"', "'")
    .trim();
  const short = line.length > MAX_UPSTREAM_CHARS ? `${line.slice(0, MAX_UPSTREAM_CHARS - 1)}…` : line;
  // Half a character, also one that the cut has left, breaks strict JSON readers.
  return short.replace(/\p{Cs}/gu, '');
}

/** What a call has cost, as every result tells it. */
export function callFacts(stats: Call['stats'], elapsedMs: number): CallFacts {
  return {
    attempts: stats.attempts,
    queued_ms: Math.round(stats.queuedMs),
    elapsed_ms: Math.round(elapsedMs),
  };
}
