import { cpus } from 'node:os';

/** The value below which `share` of all lie; 0 when there are none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

export function machine(): string {
  const cores = cpus();
  return `${cores.length} x ${cores[0]?.model.trim() ?? 'unknown processor'}`;
}

export function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}

export function percent(share: number): string {
  return `${round(share * 100, 1)} %`;
}
