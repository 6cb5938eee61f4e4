/** A call's numbers on x64 and arm64 (kernel headers: asm/unistd_64.h, asm-generic/unistd.h); null where it is unknown there. */
export type SyscallNumbers = readonly [x64: number, arm64: number | null];

/** Newer calls were not judged yet, so they do not exist inside (462: mseal, the newest one reviewed). */
export const NEWEST_KNOWN_SYSCALL = 462;

/** Calls that are denied whatever their arguments. */
export type Denied = {
  verdict: 'EPERM' | 'ENOSYS' | 'EAFNOSUPPORT' | 'EOPNOTSUPP' | 'pretended';
  why: string;
  calls: Readonly<Record<string, SyscallNumbers>>;
};

/** Calls that nothing inside may make, whatever the arguments. */
export const deniedSyscalls: readonly Denied[] = [
  {
    verdict: 'EPERM',
    why: 'large attack surface in the kernel that ordinary programs do not need',
    calls: {
      bpf: [321, 280],
      userfaultfd: [323, 282],
      perf_event_open: [298, 241],
      lookup_dcookie: [212, 18],
      fanotify_init: [300, 262],
      fanotify_mark: [301, 263],
      migrate_pages: [256, 238],
      move_pages: [279, 239],
      modify_ldt: [154, null],
      uselib: [134, null],
    },
  },
  {
    verdict: 'EPERM',
    why: 'one process of the sandbox must not take over another, the agent least of all',
    calls: {
      ptrace: [101, 117],
      process_vm_readv: [310, 270],
      process_vm_writev: [311, 271],
      process_madvise: [440, 440],
      kcmp: [312, 272],
      pidfd_getfd: [438, 438],
    },
  },
  {
    verdict: 'EPERM',
    why: 'keyrings are not covered by namespaces: the keys of whoever started the server would be readable',
    calls: { keyctl: [250, 219], add_key: [248, 217], request_key: [249, 218] },
  },
  {
    verdict: 'EPERM',
    why: 'no new view of the file system, no other or nested namespaces',
    calls: {
      mount: [165, 40],
      umount2: [166, 39],
      pivot_root: [155, 41],
      chroot: [161, 51],
      move_mount: [429, 429],
      open_tree: [428, 428],
      fsopen: [430, 430],
      fsconfig: [431, 431],
      fsmount: [432, 432],
      fspick: [433, 433],
      mount_setattr: [442, 442],
      statmount: [457, 457],
      listmount: [458, 458],
      setns: [308, 268],
      unshare: [272, 97],
      open_by_handle_at: [304, 265],
      name_to_handle_at: [303, 264],
    },
  },
  {
    verdict: 'EPERM',
    why: 'administration of the machine',
    calls: {
      kexec_load: [246, 104],
      kexec_file_load: [320, 294],
      init_module: [175, 105],
      finit_module: [313, 273],
      delete_module: [176, 106],
      create_module: [174, null],
      query_module: [178, null],
      get_kernel_syms: [177, null],
      nfsservctl: [180, 42],
      swapon: [167, 224],
      swapoff: [168, 225],
      reboot: [169, 142],
      acct: [163, 89],
      quotactl: [179, 60],
      quotactl_fd: [443, 443],
      syslog: [103, 116],
      clock_settime: [227, 112],
      clock_adjtime: [305, 266],
      settimeofday: [164, 170],
      adjtimex: [159, 171],
      sethostname: [170, 161],
      setdomainname: [171, 162],
      vhangup: [153, 58],
      iopl: [172, null],
      ioperm: [173, null],
      sysfs: [139, null],
      _sysctl: [156, null],
    },
  },
  {
    verdict: 'ENOSYS',
    why: 'callers fall back on older calls; clone3 hides its flags from the filter',
    calls: {
      clone3: [435, 435],
      io_uring_setup: [425, 425],
      io_uring_enter: [426, 426],
      io_uring_register: [427, 427],
    },
  },
  {
    verdict: 'ENOSYS',
    // Of System V too, where a set of semaphores takes 2 MiB; programs use the semaphores and shared memory of POSIX.
    why: "memory that is in no process's resident set and no sized tmpfs would escape the watchdog",
    calls: {
      memfd_create: [319, 279],
      memfd_secret: [447, 447],
      shmget: [29, 194],
      semget: [64, 190],
      msgget: [68, 186],
    },
  },
];

/** A call that is judged by one argument; there may be several for one call, which must pass all of them. */
export type Screened = { name: string; numbers: readonly [x64: number, arm64: number]; argument: number } & (
  | { verdict: 'EPERM'; deniedBits: number }
  | { verdict: 'EPERM'; denied: readonly number[] }
  | { verdict: 'EPERM' | 'EAFNOSUPPORT'; allowed: readonly number[] }
);

/** Calls that are judged by one argument. */
export const screenedSyscalls: readonly Screened[] = [
  // CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET} (linux/sched.h); CLONE_NEWTIME exists in clone3 only.
  { name: 'clone', numbers: [56, 220], argument: 0, verdict: 'EPERM', deniedBits: 0x7e020000 },
  // TIOCSTI and TIOCLINUX type into the terminal of whoever started the server.
  { name: 'ioctl', numbers: [16, 29], argument: 1, verdict: 'EPERM', denied: [0x5412, 0x541c] },
  // Setting the default personality and asking for the present one.
  { name: 'personality', numbers: [135, 92], argument: 0, verdict: 'EPERM', allowed: [0, 0xffffffff] },
  // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: a network namespace does not cover AF_VSOCK and others.
  { name: 'socket', numbers: [41, 198], argument: 0, verdict: 'EAFNOSUPPORT', allowed: [1, 2, 10, 16] },
];
