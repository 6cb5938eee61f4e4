import type { MoreDenied } from './seccomp.ts';

/** What namespaces would keep apart and Landlock does not look at. */
export const withoutNamespaces: MoreDenied = {
  denied: [
    {
      verdict: 'EAFNOSUPPORT',
      why: 'no network of its own; and Landlock lets a unix socket reach every service that has a path',
      calls: { socket: [41, 198] },
    },
    {
      verdict: 'EPERM',
      why: 'memory, queues and semaphores of others, which outlive the sandbox',
      calls: {
        shmat: [30, 196],
        shmctl: [31, 195],
        semop: [65, 193],
        semtimedop: [220, 192],
        semctl: [66, 191],
        msgsnd: [69, 189],
        msgrcv: [70, 188],
        msgctl: [71, 187],
        mq_open: [240, 180],
        mq_unlink: [241, 181],
      },
    },
    {
      verdict: 'ENOSYS',
      why: 'the agent is shielded by its number, which this names by a descriptor; callers fall back on kill',
      calls: { pidfd_send_signal: [424, 424] },
    },
    {
      verdict: 'EPERM',
      why: "slows down the user's other processes, of which all can be meant at once",
      calls: { setpriority: [141, 140], ioprio_set: [251, 30] },
    },
    {
      verdict: 'ENOSYS',
      why: 'tells what happens to files that cannot be opened',
      calls: { inotify_init: [253, null], inotify_init1: [294, 26] },
    },
    {
      verdict: 'EOPNOTSUPP',
      why: 'attributes of files that cannot be opened; callers do without',
      calls: {
        setxattr: [188, 5],
        lsetxattr: [189, 6],
        fsetxattr: [190, 7],
        getxattr: [191, 8],
        lgetxattr: [192, 9],
        fgetxattr: [193, 10],
        listxattr: [194, 11],
        llistxattr: [195, 12],
        flistxattr: [196, 13],
        removexattr: [197, 14],
        lremovexattr: [198, 15],
        fremovexattr: [199, 16],
      },
    },
    {
      verdict: 'pretended',
      why: 'dates what cannot be opened, if it may be written to; unpacking and copying would fail if it were refused',
      calls: {
        utime: [132, null],
        utimes: [235, null],
        futimesat: [261, null],
        utimensat: [280, 88],
      },
    },
  ],
  screened: [
    // SOCK_DGRAM and SOCK_RAW, which send to any path although they are connected.
    { name: 'socketpair', numbers: [53, 199], argument: 1, verdict: 'EPERM', deniedBits: 2 },
    { name: 'socketpair', numbers: [53, 199], argument: 0, verdict: 'EAFNOSUPPORT', allowed: [1] },
    // F_SETOWN, F_SETOWN_EX: whom to signal when something can be read; the agent, which is shielded from other signals.
    { name: 'fcntl', numbers: [72, 25], argument: 1, verdict: 'EPERM', denied: [8, 15] },
    // FIOSETOWN, SIOCSPGRP: the same of a socket.
    { name: 'ioctl', numbers: [16, 29], argument: 1, verdict: 'EPERM', denied: [0x8901, 0x8902] },
    // SO_PEERPIDFD, SO_PASSPIDFD: a descriptor of the agent, which is at the other end of some sockets.
    { name: 'getsockopt', numbers: [55, 209], argument: 2, verdict: 'EPERM', denied: [77] },
    { name: 'setsockopt', numbers: [54, 208], argument: 2, verdict: 'EPERM', denied: [76] },
    // Of itself alone, not of the user's other processes.
    { name: 'prlimit64', numbers: [302, 261], argument: 0, verdict: 'EPERM', allowed: [0] },
    { name: 'sched_setparam', numbers: [142, 118], argument: 0, verdict: 'EPERM', allowed: [0] },
    { name: 'sched_setscheduler', numbers: [144, 119], argument: 0, verdict: 'EPERM', allowed: [0] },
    { name: 'sched_setattr', numbers: [314, 274], argument: 0, verdict: 'EPERM', allowed: [0] },
    { name: 'sched_setaffinity', numbers: [203, 122], argument: 0, verdict: 'EPERM', allowed: [0] },
  ],
};

/** And where the sandbox is the same user as the server: what an owner may do to files that Landlock keeps closed. */
export const asSameUser: MoreDenied = {
  denied: [
    ...withoutNamespaces.denied,
    {
      verdict: 'pretended',
      why: "opens or closes the user's own files; unpacking and copying would fail if it were refused",
      calls: {
        chmod: [90, null],
        fchmod: [91, 52],
        fchmodat: [268, 53],
        fchmodat2: [452, 452],
        chown: [92, null],
        fchown: [93, 55],
        lchown: [94, null],
        fchownat: [260, 54],
      },
    },
  ],
  screened: [
    ...withoutNamespaces.screened,
    // FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR, FS_IOC_ENABLE_VERITY (linux/fs.h, linux/fsverity.h): reading is enough for an owner.
    {
      name: 'ioctl',
      numbers: [16, 29],
      argument: 1,
      verdict: 'EPERM',
      denied: [0x40086602, 0x401c5820, 0x40806685],
    },
  ],
};
