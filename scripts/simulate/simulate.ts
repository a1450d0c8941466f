/** `npm run simulate`: see command.ts. */

import { simulateCommand } from './command.js';
import { runSimulation } from './run-simulation.js';

process.exit(
  await simulateCommand(process.argv.slice(2), {
    print: (text) => process.stdout.write(text),
    complain: (text) => process.stderr.write(text),
    run: runSimulation,
  }),
);
