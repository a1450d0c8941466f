/**
 * `npm run plot`: draws the README's plot of time against room size from the JSON files under bench/results; with
 * `--measure` it makes the runs first. Exit code 0 only if the plot was written.
 */

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { joinTimePlot, readReport } from './join-time.js';
import { runOne, SERIES_EVENTS, seriesRuns } from './run-series.js';
import { svgPlot } from './svg-plot.js';

/** From dist/scripts/plot to the repository. */
const RESULTS_DIR = fileURLToPath(new URL('../../../bench/results', import.meta.url));
const SVG_FILE = 'join-time.svg';

const HELP = `npm run plot -- [options]: draws join-time.svg from the JSON files of npm run hq

  --measure              first run npm run hq at each size, one after the other; a million events take minutes
  --events N,N,...       sizes to measure (default ${SERIES_EVENTS.join(',')})
  --dir DIR              where the JSON files are and the plot goes (default bench/results)
  --help                 this text
`;

async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    strict: true,
    options: {
      measure: { type: 'boolean', default: false },
      events: { type: 'string', default: SERIES_EVENTS.join(',') },
      dir: { type: 'string', default: RESULTS_DIR },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const dir = resolve(values.dir);
  if (values.measure) {
    for (const run of seriesRuns(values.events.split(',').map(Number))) await runOne(run, dir);
  }
  const names = (await readdir(dir)).filter((name) => name.endsWith('.json')).sort();
  const reports = [];
  for (const name of names) reports.push(readReport(name, await readFile(join(dir, name), 'utf8')));
  const file = join(dir, SVG_FILE);
  await writeFile(file, svgPlot(joinTimePlot(reports)));
  process.stdout.write(`${file}: ${names.length} runs\n`);
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`plot: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
