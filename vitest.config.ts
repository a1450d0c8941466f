import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Native libraries keep state per process: a process per file, as many as there are cores.
    pool: 'forks',
    maxWorkers: 2,
  },
});
