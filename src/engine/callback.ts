import { createHmac } from 'node:crypto';
import type { Log } from '../log.ts';

type Callback = {
  url: string;
  headers: Readonly<Record<string, string>>;
  /** Signs the body where there is one. */
  secret?: string | undefined;
};

/** Longer than a receiver takes that does its work after its answer. */
const ANSWER_MS = 10_000;

/** Posts a JSON body once; that nobody took it is logged, as nobody is there to be told. */
export async function sendCallback(
  { url, headers, secret }: Callback,
  payload: Readonly<Record<string, unknown>>,
  { now, log }: { now(): number; log: Log },
): Promise<void> {
  const body = JSON.stringify(payload);
  const timestamp = String(Math.floor(now() / 1000));
  // The timestamp and the raw body one after the other, as a comment in HopX's docs has it.
  const signature = createHmac('sha256', secret ?? '')
    .update(timestamp + body)
    .digest('hex');
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        ...headers,
        'Content-Type': 'application/json',
        'X-HopX-Timestamp': timestamp,
        ...(secret !== undefined && { 'X-HopX-Signature': `sha256=${signature}` }),
      },
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    await response.body?.cancel();
    if (!response.ok) log.warn('callback refused', { status: response.status });
  } catch (error) {
    log.warn('callback not delivered', { error: String(error) });
  }
}
