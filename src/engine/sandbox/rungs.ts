/** One way of making a sandbox. */
export type Rung = {
  /** Python makes the same namespaces itself, of the same options; Landlock does without any, Seatbelt is for macOS. */
  madeBy: 'bubblewrap' | 'python' | 'landlock' | 'seatbelt';
  /** A user namespace of its own; without it bubblewrap needs root, and keeps just enough to drop it. */
  userNamespace: boolean;
  /** A /proc of its own; containers that mask theirs refuse it. */
  proc: boolean;
  /** What it lacks, as the end of the sentence on isolation. */
  weaker: string;
};

const noUserNamespace = '; without a user namespace, which this machine refuses';
const noProc = '; without /proc inside';

/** On Linux; best first. */
export const rungs: readonly Rung[] = [
  { madeBy: 'bubblewrap', userNamespace: true, proc: true, weaker: '' },
  { madeBy: 'python', userNamespace: true, proc: true, weaker: '' },
  { madeBy: 'bubblewrap', userNamespace: true, proc: false, weaker: noProc },
  { madeBy: 'python', userNamespace: true, proc: false, weaker: noProc },
  { madeBy: 'bubblewrap', userNamespace: false, proc: true, weaker: noUserNamespace },
  { madeBy: 'bubblewrap', userNamespace: false, proc: false, weaker: `${noUserNamespace}${noProc}` },
  { madeBy: 'landlock', userNamespace: false, proc: false, weaker: '' },
];

export const rungsOfMacos: readonly Rung[] = [
  { madeBy: 'seatbelt', userNamespace: false, proc: false, weaker: '' },
];
