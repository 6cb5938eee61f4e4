import type { Governor } from './governor.ts';

/**
 * For requests that two limits count: they wait for both. What answers say of a limit is about the narrower
 * one, which is `first`; the wider only counts along.
 */
export function createJointGovernor(first: Governor, second: Governor): Governor {
  return {
    wait: (urgent) => Math.max(first.wait(urgent), second.wait(urgent)),
    etaMs: (ahead) => Math.max(first.etaMs(ahead), second.etaMs(ahead)),
    reason: () => first.reason() ?? second.reason(),
    onSend(sentMs) {
      first.onSend(sentMs);
      second.onSend(sentMs);
    },
    onAnswer(answer) {
      first.onAnswer(answer);
      second.onAnswer({ ...answer, facts: undefined });
    },
    onThrottle: first.onThrottle,
    onSuccess() {
      first.onSuccess();
      second.onSuccess();
    },
    onFault: first.onFault,
  };
}
