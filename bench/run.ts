/**
 * `npm run bench`: every bench in turn, one table. With `smoke` as its argument the sizes that the tests run; with other
 * words only the benches whose names contain one of them.
 */

import { benches } from './benches.js';
import type { BenchSize } from './measure.js';

const words = process.argv.slice(2);
const size: BenchSize = words.includes('smoke') ? 'smoke' : 'full';
const wanted = words.filter((word) => word !== 'smoke');

const lines: string[][] = [['workload', 'task', 'mean ms', '±', 'items/s', 'runs', 'answer']];
for (const [name, run] of Object.entries(benches)) {
  if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue;
  const { name: workload, answer, rows } = await run(size);
  for (const [i, row] of rows.entries()) {
    lines.push([
      i === 0 ? workload : '',
      row.task,
      row.meanMs.toFixed(3),
      `${(row.uncertainty * 100).toFixed(1)}%`,
      Math.round(row.itemsPerSecond).toLocaleString('en-US'),
      String(row.runs),
      i === 0 ? answer.slice(0, 12) : '',
    ]);
  }
}

const widths = (lines[0] as string[]).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
for (const line of lines) {
  const cells = line.map((cell, column) => {
    const width = widths[column] as number;
    return column >= 2 && column <= 5 ? cell.padStart(width) : cell.padEnd(width);
  });
  process.stdout.write(`${cells.join('  ').trimEnd()}\n`);
}
