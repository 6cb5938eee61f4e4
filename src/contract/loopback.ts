/** Whether the `hostname` of a URL is this machine, where plain HTTP gives nothing away. */
export function isLoopback(hostname: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname);
}
