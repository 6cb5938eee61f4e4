/** Programs that never end, with a child that can be told from all other processes. */
export const endless = {
  python: (mark: string) =>
    `import subprocess\nsubprocess.Popen(["sh", "-c", "while :; do :; done", "${mark}"])\nwhile True: pass`,
  bash: (mark: string) => `sh -c 'while :; do :; done' ${mark} & while :; do :; done`,
  javascript: (mark: string) =>
    `require("child_process").spawn("sh", ["-c", "while :; do :; done", "${mark}"]); for (;;);`,
};
