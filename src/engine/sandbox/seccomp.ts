import {
  type Denied,
  deniedSyscalls,
  NEWEST_KNOWN_SYSCALL,
  type Screened,
  screenedSyscalls,
} from './syscalls.ts';

/** The two machines whose system calls the filter knows. */
export type Architecture = 'x64' | 'arm64';

// linux/audit.h: the value of `seccomp_data.arch`.
const auditArchitecture = { x64: 0xc000003e, arm64: 0xc00000b7 } as const;

/** The filter's verdicts (linux/seccomp.h); the low 16 bits carry the errno. */
export const verdicts = {
  allow: 0x7fff0000,
  killProcess: 0x80000000,
  EPERM: 0x00050001,
  EAFNOSUPPORT: 0x00050061,
  ENOSYS: 0x00050026,
  EOPNOTSUPP: 0x0005005f,
  // Answers that it was done, and does nothing.
  pretended: 0x00050000,
} as const;

// Offsets into struct seccomp_data; arguments are read by their low word, which is all that these calls use.
const NUMBER = 0;
const ARCHITECTURE = 4;
const argument = (index: number) => 16 + 8 * index;

type Instruction = readonly [code: number, jumpTrue: number, jumpFalse: number, operand: number];

// linux/bpf_common.h: load an absolute word; jump if equal, greater, any bit set; return a constant.
const load = (offset: number): Instruction => [0x20, 0, 0, offset];
const ifEqual = (value: number, yes: number, no: number): Instruction => [0x15, yes, no, value];
const ifGreater = (value: number, yes: number, no: number): Instruction => [0x25, yes, no, value];
const ifAnyBit = (bits: number, yes: number, no: number): Instruction => [0x45, yes, no, bits];
const end = (verdict: number): Instruction => [0x06, 0, 0, verdict];

/** What a sandbox needs denied beyond the list that all of them share. */
export type MoreDenied = { denied: readonly Denied[]; screened: readonly Screened[] };

/** The deny-list as classic BPF, in the bytes that `bwrap --seccomp` reads (an array of struct sock_filter). */
export function seccompFilter(
  architecture: Architecture,
  more: MoreDenied = { denied: [], screened: [] },
): Uint8Array<ArrayBuffer> {
  const numberOf = <T>([x64, arm64]: readonly [number, T]) => (architecture === 'x64' ? x64 : arm64);
  const program: Instruction[] = [
    load(ARCHITECTURE),
    ifEqual(auditArchitecture[architecture], 1, 0),
    end(verdicts.killProcess),
    load(NUMBER),
    // Also catches x32, whose numbers start at 2^30. ENOSYS makes a libc fall back on the older call.
    ifGreater(NEWEST_KNOWN_SYSCALL, 0, 1),
    end(verdicts.ENOSYS),
  ];
  for (const { verdict, calls } of [...more.denied, ...deniedSyscalls]) {
    for (const numbers of Object.values(calls)) {
      const number = numberOf(numbers);
      if (number !== null) program.push(ifEqual(number, 0, 1), end(verdicts[verdict]));
    }
  }
  for (const screen of [...screenedSyscalls, ...more.screened]) {
    const tests = screenInstructions(screen);
    program.push(load(NUMBER), ifEqual(numberOf(screen.numbers), 0, tests.length), ...tests);
  }
  program.push(end(verdicts.allow));
  return encode(program);
}

/** Ends at the refusal, or goes on behind it. */
function screenInstructions(screen: Screened): Instruction[] {
  const refusal = end(verdicts[screen.verdict]);
  const judged = load(argument(screen.argument));
  if ('deniedBits' in screen) return [judged, ifAnyBit(screen.deniedBits, 0, 1), refusal];
  if ('denied' in screen) {
    const last = screen.denied.length - 1;
    const tests = screen.denied.map((value, index) => ifEqual(value, last - index, index === last ? 1 : 0));
    return [judged, ...tests, refusal];
  }
  const tests = screen.allowed.map((value, index) => ifEqual(value, screen.allowed.length - index, 0));
  return [judged, ...tests, refusal];
}

function encode(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(program.length * 8));
  for (const [index, [code, jumpTrue, jumpFalse, operand]] of program.entries()) {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, jumpTrue);
    view.setUint8(index * 8 + 3, jumpFalse);
    view.setUint32(index * 8 + 4, operand, true);
  }
  return new Uint8Array(view.buffer);
}
