const KIB = 1024;
const MIB = 1024 * KIB;

/** What one sandbox may use. */
export type Limits = {
  /** Resident memory of all processes together (host watchdog), and private memory of each (RLIMIT_DATA). */
  memoryBytes: number;
  workspaceBytes: number;
  tmpBytes: number;
  sharedMemoryBytes: number;
  /** Processes and threads. */
  processes: number;
  openFiles: number;
  fileBytes: number;
  /** Files and directories in all places together (host watchdog). */
  files: number;
  /** Of each output stream of a run, what reaches the host: the first and the last characters. */
  headChars: number;
  tailChars: number;
  /** Of each output stream, what a file in the sandbox keeps of a run with more output than that. */
  spillBytes: number;
};

/** Roomy for data work, and small enough for eight sandboxes on a laptop. */
export const defaultLimits: Limits = {
  memoryBytes: 1024 * MIB,
  workspaceBytes: 512 * MIB,
  // Holds compiler caches, and in half of it the full output of the last long runs.
  tmpBytes: 512 * MIB,
  // Enough for multiprocessing queues and locks; big arrays belong in ordinary memory.
  sharedMemoryBytes: 64 * MIB,
  // Node takes 11 threads, a Go build some 40, BLAS one per core.
  processes: 256,
  openFiles: 1024,
  fileBytes: 512 * MIB,
  // A large node_modules has 100,000; each takes about 1 KiB of the kernel's memory.
  files: 200_000,
  // Far above what a model is ever shown, far below what would hurt the host.
  headChars: 512 * KIB,
  tailChars: 512 * KIB,
  // A hundred megabytes of log, and both streams in half of /tmp. execute_code names the figure to the model.
  spillBytes: 120 * MIB,
};
