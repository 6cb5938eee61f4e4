import { machine, round } from './measure.ts';

/** A figure to be reached; `least` where more is better. */
export type Target = { says: string; figure: number; target: number; unit?: string; least?: boolean };

export type Report = {
  bench: string;
  /** The first row names the columns. */
  table: readonly (readonly (string | number)[])[];
  n: number;
  median: number;
  p99: number;
  unit: string;
  /** To what `baseline` names, measured in the same run. */
  ratio: number;
  baseline: string;
  targets: readonly Target[];
  notes?: readonly string[];
  details?: Readonly<Record<string, unknown>>;
};

function isMet({ figure, target, least = false }: Target): boolean {
  return least ? figure >= target : figure <= target;
}

function inColumns(rows: Report['table']): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === 'number' ? String(round(cell)) : cell)));
  const widths = (cells[0] ?? []).map((_, column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ');
  return cells.map(line).join('\n');
}

/** Prints a table, every target beside its figure, and one line of JSON; `--strict` makes a miss an error. */
export function report({ table, targets, notes = [], details = {}, ...figures }: Report): void {
  const judged = targets.map((target) => ({
    ...target,
    figure: round(target.figure),
    met: isMet(target),
  }));
  console.log(`\n# ${figures.bench}\n\n${inColumns(table)}\n`);
  for (const note of notes) console.log(note);
  for (const { says, figure, target, unit = '', least, met } of judged) {
    console.log(
      `${met ? 'met   ' : 'MISSED'}  ${says}: ${figure} ${unit} (target ${least ? '>=' : '<='} ${target})`,
    );
  }
  const line = {
    ...figures,
    median: round(figures.median),
    p99: round(figures.p99),
    ratio: round(figures.ratio),
    machine: machine(),
    node: process.version,
    targets: judged,
    ...details,
  };
  console.log(JSON.stringify(line));
  if (process.argv.includes('--strict') && judged.some(({ met }) => !met)) process.exitCode = 1;
}
