import { describe, expect, test } from 'vitest';
import { asSameUser, withoutNamespaces } from '../../../src/engine/sandbox/landlock-syscalls.ts';
import { type Architecture, seccompFilter, verdicts } from '../../../src/engine/sandbox/seccomp.ts';

const arch = { x64: 0xc000003e, arm64: 0xc00000b7 } as const;

type Call = { arch?: number; nr: number; args?: readonly number[] };

/** Runs a classic BPF program over a struct seccomp_data; knows only the instructions that a filter needs. */
function verdictOf(filter: Uint8Array, machine: Architecture, call: Call): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call.nr, true);
  data.setUint32(4, call.arch ?? arch[machine], true);
  for (const [index, value] of (call.args ?? []).entries())
    data.setBigUint64(16 + 8 * index, BigInt(value), true);
  const program = new DataView(filter.buffer, filter.byteOffset, filter.byteLength);
  let accumulator = 0;
  for (let at = 0; at < filter.byteLength; at += 8) {
    const code = program.getUint16(at, true);
    const operand = program.getUint32(at + 4, true);
    const jump = (yes: boolean) => {
      at += 8 * program.getUint8(at + (yes ? 2 : 3));
    };
    if (code === 0x20) accumulator = data.getUint32(operand, true);
    else if (code === 0x15) jump(accumulator === operand);
    else if (code === 0x25) jump(accumulator > operand);
    else if (code === 0x45) jump((accumulator & operand) !== 0);
    else if (code === 0x06) return operand;
    else throw new Error(`unknown instruction ${code}`);
  }
  throw new Error('ran past the end');
}

const { allow, killProcess, EPERM, ENOSYS, EAFNOSUPPORT, EOPNOTSUPP, pretended } = verdicts;
const THREAD = 0x003d0f00;

// Numbers as in asm/unistd_64.h and asm-generic/unistd.h.
const cases = [
  { call: 'read', x64: 0, arm64: 63, verdict: allow },
  { call: 'openat', x64: 257, arm64: 56, verdict: allow },
  { call: 'execve', x64: 59, arm64: 221, verdict: allow },
  { call: 'prctl', x64: 157, arm64: 167, verdict: allow },
  { call: 'kill', x64: 62, arm64: 129, verdict: allow },
  { call: 'setresuid', x64: 117, arm64: 147, verdict: allow },
  { call: 'bpf', x64: 321, arm64: 280, verdict: EPERM },
  { call: 'userfaultfd', x64: 323, arm64: 282, verdict: EPERM },
  { call: 'perf_event_open', x64: 298, arm64: 241, verdict: EPERM },
  { call: 'ptrace', x64: 101, arm64: 117, verdict: EPERM },
  { call: 'process_vm_readv', x64: 310, arm64: 270, verdict: EPERM },
  { call: 'process_vm_writev', x64: 311, arm64: 271, verdict: EPERM },
  { call: 'pidfd_getfd', x64: 438, arm64: 438, verdict: EPERM },
  { call: 'keyctl', x64: 250, arm64: 219, verdict: EPERM },
  { call: 'add_key', x64: 248, arm64: 217, verdict: EPERM },
  { call: 'request_key', x64: 249, arm64: 218, verdict: EPERM },
  { call: 'mount', x64: 165, arm64: 40, verdict: EPERM },
  { call: 'umount2', x64: 166, arm64: 39, verdict: EPERM },
  { call: 'pivot_root', x64: 155, arm64: 41, verdict: EPERM },
  { call: 'fsopen', x64: 430, arm64: 430, verdict: EPERM },
  { call: 'move_mount', x64: 429, arm64: 429, verdict: EPERM },
  { call: 'mount_setattr', x64: 442, arm64: 442, verdict: EPERM },
  { call: 'setns', x64: 308, arm64: 268, verdict: EPERM },
  { call: 'unshare', x64: 272, arm64: 97, verdict: EPERM },
  { call: 'open_by_handle_at', x64: 304, arm64: 265, verdict: EPERM },
  { call: 'init_module', x64: 175, arm64: 105, verdict: EPERM },
  { call: 'finit_module', x64: 313, arm64: 273, verdict: EPERM },
  { call: 'kexec_load', x64: 246, arm64: 104, verdict: EPERM },
  { call: 'reboot', x64: 169, arm64: 142, verdict: EPERM },
  { call: 'swapon', x64: 167, arm64: 224, verdict: EPERM },
  { call: 'syslog', x64: 103, arm64: 116, verdict: EPERM },
  { call: 'clock_settime', x64: 227, arm64: 112, verdict: EPERM },
  { call: 'clone3', x64: 435, arm64: 435, verdict: ENOSYS },
  { call: 'io_uring_setup', x64: 425, arm64: 425, verdict: ENOSYS },
  { call: 'io_uring_enter', x64: 426, arm64: 426, verdict: ENOSYS },
  { call: 'memfd_create', x64: 319, arm64: 279, verdict: ENOSYS },
  { call: 'shmget', x64: 29, arm64: 194, verdict: ENOSYS },
  { call: 'semget', x64: 64, arm64: 190, verdict: ENOSYS },
  { call: 'msgget', x64: 68, arm64: 186, verdict: ENOSYS },
  { call: 'a call newer than the list', x64: 463, arm64: 463, verdict: ENOSYS },
  { call: 'clone of a thread', x64: 56, arm64: 220, args: [THREAD], verdict: allow },
  { call: 'clone as fork does', x64: 56, arm64: 220, args: [0x01200011], verdict: allow },
  { call: 'clone with CLONE_NEWUSER', x64: 56, arm64: 220, args: [0x10000011], verdict: EPERM },
  { call: 'clone with CLONE_NEWNS', x64: 56, arm64: 220, args: [0x00020011], verdict: EPERM },
  { call: 'clone with CLONE_NEWNET', x64: 56, arm64: 220, args: [0x40000011], verdict: EPERM },
  { call: 'ioctl TCGETS', x64: 16, arm64: 29, args: [0, 0x5401], verdict: allow },
  { call: 'ioctl TIOCSTI', x64: 16, arm64: 29, args: [0, 0x5412], verdict: EPERM },
  // The kernel looks at the low 32 bits of the request only.
  { call: 'ioctl TIOCSTI with high bits', x64: 16, arm64: 29, args: [0, 0x1_0000_5412], verdict: EPERM },
  { call: 'ioctl TIOCLINUX', x64: 16, arm64: 29, args: [0, 0x541c], verdict: EPERM },
  { call: 'personality, the default one', x64: 135, arm64: 92, args: [0], verdict: allow },
  { call: 'personality, a question', x64: 135, arm64: 92, args: [0xffffffff], verdict: allow },
  { call: 'personality ADDR_NO_RANDOMIZE', x64: 135, arm64: 92, args: [0x0040000], verdict: EPERM },
  { call: 'socket AF_UNIX', x64: 41, arm64: 198, args: [1], verdict: allow },
  { call: 'socket AF_INET', x64: 41, arm64: 198, args: [2], verdict: allow },
  { call: 'socket AF_INET6', x64: 41, arm64: 198, args: [10], verdict: allow },
  { call: 'socket AF_NETLINK', x64: 41, arm64: 198, args: [16], verdict: allow },
  { call: 'socket AF_PACKET', x64: 41, arm64: 198, args: [17], verdict: EAFNOSUPPORT },
  { call: 'socket AF_ALG', x64: 41, arm64: 198, args: [38], verdict: EAFNOSUPPORT },
  { call: 'socket AF_VSOCK', x64: 41, arm64: 198, args: [40], verdict: EAFNOSUPPORT },
] as const;

describe.each(['x64', 'arm64'] as const)('the filter for %s', (machine) => {
  const filter = seccompFilter(machine);

  test.each(cases)('$call', (row) => {
    const args = 'args' in row ? row.args : [];
    expect(verdictOf(filter, machine, { nr: row[machine], args })).toBe(row.verdict);
  });

  test('kills a process that calls as another architecture', () => {
    for (const foreign of [0x40000003, 0x40000028, machine === 'x64' ? arch.arm64 : arch.x64]) {
      expect(verdictOf(filter, machine, { arch: foreign, nr: 0 })).toBe(killProcess);
    }
  });

  test('knows no x32', () => {
    expect(verdictOf(filter, machine, { nr: 0x40000000 })).toBe(ENOSYS);
    expect(verdictOf(filter, machine, { nr: 0x40000000 + 101 })).toBe(ENOSYS);
  });

  test('fits into a kernel filter, with jumps inside it', () => {
    expect(filter.byteLength / 8).toBeLessThan(4096);
    for (let nr = 0; nr < 600; nr++) verdictOf(filter, machine, { nr, args: [nr, nr] });
  });
});

const UNIX = 1;
const [STREAM, DGRAM, RAW, CLOEXEC] = [1, 2, 3, 0x80000];

// As root each sandbox is a user of its own; else it is the server's, who owns files that Landlock keeps closed.
const withoutNamespace = [
  { call: 'a thread', x64: 56, arm64: 220, args: [THREAD], asRoot: allow, asUser: allow },
  { call: 'ptrace', x64: 101, arm64: 117, asRoot: EPERM, asUser: EPERM },
  { call: 'socket AF_UNIX', x64: 41, arm64: 198, args: [UNIX], asRoot: EAFNOSUPPORT, asUser: EAFNOSUPPORT },
  { call: 'socket AF_INET', x64: 41, arm64: 198, args: [2], asRoot: EAFNOSUPPORT, asUser: EAFNOSUPPORT },
  { call: 'a pair of streams', x64: 53, arm64: 199, args: [UNIX, STREAM], asRoot: allow, asUser: allow },
  {
    call: 'a pair of streams closed on exec',
    x64: 53,
    arm64: 199,
    args: [UNIX, STREAM | CLOEXEC],
    asRoot: allow,
    asUser: allow,
  },
  { call: 'a pair for datagrams', x64: 53, arm64: 199, args: [UNIX, DGRAM], asRoot: EPERM, asUser: EPERM },
  {
    call: 'a raw pair closed on exec',
    x64: 53,
    arm64: 199,
    args: [UNIX, RAW | CLOEXEC],
    asRoot: EPERM,
    asUser: EPERM,
  },
  {
    call: 'a pair of AF_TIPC',
    x64: 53,
    arm64: 199,
    args: [30, STREAM],
    asRoot: EAFNOSUPPORT,
    asUser: EAFNOSUPPORT,
  },
  { call: 'shmat', x64: 30, arm64: 196, asRoot: EPERM, asUser: EPERM },
  { call: 'msgsnd', x64: 69, arm64: 189, asRoot: EPERM, asUser: EPERM },
  { call: 'semop', x64: 65, arm64: 193, asRoot: EPERM, asUser: EPERM },
  { call: 'mq_open', x64: 240, arm64: 180, asRoot: EPERM, asUser: EPERM },
  { call: 'setpriority', x64: 141, arm64: 140, asRoot: EPERM, asUser: EPERM },
  { call: 'prlimit64 of itself', x64: 302, arm64: 261, args: [0], asRoot: allow, asUser: allow },
  { call: 'prlimit64 of another', x64: 302, arm64: 261, args: [4242], asRoot: EPERM, asUser: EPERM },
  { call: 'sched_setaffinity of another', x64: 203, arm64: 122, args: [4242], asRoot: EPERM, asUser: EPERM },
  { call: 'fcntl F_DUPFD', x64: 72, arm64: 25, args: [0, 0], asRoot: allow, asUser: allow },
  { call: 'fcntl F_SETOWN', x64: 72, arm64: 25, args: [0, 8], asRoot: EPERM, asUser: EPERM },
  { call: 'fcntl F_SETOWN_EX', x64: 72, arm64: 25, args: [0, 15], asRoot: EPERM, asUser: EPERM },
  { call: 'ioctl FIOSETOWN', x64: 16, arm64: 29, args: [0, 0x8901], asRoot: EPERM, asUser: EPERM },
  { call: 'ioctl SIOCSPGRP', x64: 16, arm64: 29, args: [0, 0x8902], asRoot: EPERM, asUser: EPERM },
  { call: 'pidfd_send_signal', x64: 424, arm64: 424, asRoot: ENOSYS, asUser: ENOSYS },
  { call: 'pidfd_open', x64: 434, arm64: 434, asRoot: allow, asUser: allow },
  { call: 'getsockopt SO_PEERCRED', x64: 55, arm64: 209, args: [0, 1, 17], asRoot: allow, asUser: allow },
  { call: 'getsockopt SO_PEERPIDFD', x64: 55, arm64: 209, args: [0, 1, 77], asRoot: EPERM, asUser: EPERM },
  { call: 'setsockopt SO_PASSCRED', x64: 54, arm64: 208, args: [0, 1, 16], asRoot: allow, asUser: allow },
  { call: 'setsockopt SO_PASSPIDFD', x64: 54, arm64: 208, args: [0, 1, 76], asRoot: EPERM, asUser: EPERM },
  { call: 'inotify_init1', x64: 294, arm64: 26, asRoot: ENOSYS, asUser: ENOSYS },
  { call: 'setxattr', x64: 188, arm64: 5, asRoot: EOPNOTSUPP, asUser: EOPNOTSUPP },
  { call: 'getxattr', x64: 191, arm64: 8, asRoot: EOPNOTSUPP, asUser: EOPNOTSUPP },
  { call: 'utimensat', x64: 280, arm64: 88, asRoot: pretended, asUser: pretended },
  { call: 'fchmodat', x64: 268, arm64: 53, asRoot: allow, asUser: pretended },
  { call: 'fchmod', x64: 91, arm64: 52, asRoot: allow, asUser: pretended },
  { call: 'fchownat', x64: 260, arm64: 54, asRoot: allow, asUser: pretended },
  { call: 'ioctl TIOCSTI', x64: 16, arm64: 29, args: [0, 0x5412], asRoot: EPERM, asUser: EPERM },
  { call: 'ioctl FS_IOC_SETFLAGS', x64: 16, arm64: 29, args: [0, 0x40086602], asRoot: allow, asUser: EPERM },
  {
    call: 'ioctl FS_IOC_ENABLE_VERITY',
    x64: 16,
    arm64: 29,
    args: [0, 0x40806685],
    asRoot: allow,
    asUser: EPERM,
  },
  { call: 'ioctl TCGETS', x64: 16, arm64: 29, args: [0, 0x5401], asRoot: allow, asUser: allow },
] as const;

describe.each(['x64', 'arm64'] as const)('without namespaces, the filter for %s', (machine) => {
  const filters = {
    asRoot: seccompFilter(machine, withoutNamespaces),
    asUser: seccompFilter(machine, asSameUser),
  };
  test.each(withoutNamespace)('$call', (row) => {
    const call = { nr: row[machine], args: 'args' in row ? row.args : [] };
    const judged = (filter: Uint8Array) => verdictOf(filter, machine, call);
    expect({ asRoot: judged(filters.asRoot), asUser: judged(filters.asUser) }).toEqual({
      asRoot: row.asRoot,
      asUser: row.asUser,
    });
  });
});

test('calls of x64 alone have no number on arm64', () => {
  // 154 is modify_ldt on x64 and setpgid on arm64.
  expect(verdictOf(seccompFilter('x64'), 'x64', { nr: 154 })).toBe(EPERM);
  expect(verdictOf(seccompFilter('arm64'), 'arm64', { nr: 154 })).toBe(allow);
});
