/** What identifies a create of ours in a list of sandboxes: of what a create says, only this comes back. */
export type Fingerprint = {
  /** The lifetime that was asked for, made unusual. */
  timeoutSeconds: number;
  template: string;
  /** Milliseconds since the epoch on the server's clock; what is older is not this create's. */
  sinceMs: number;
};

/** Where creates leave a trace that outlives the process. */
export type Journal = {
  /** Written before a create is sent. */
  intended(intent: Fingerprint): void;
  /** The create led to this sandbox. */
  created(intent: Fingerprint, sandboxId: string): void;
  /** The create led to nothing that could be left behind. */
  dropped(intent: Fingerprint): void;
  deleted(sandboxId: string): void;
};

/** Leaves no trace. */
export const noJournal: Journal = { intended() {}, created() {}, dropped() {}, deleted() {} };
