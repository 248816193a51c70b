import { defineConfig } from 'vitest/config'
import { proofScale } from './test/runs.js'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/build.ts'],
    setupFiles: ['test/ended-by-signal.ts'],
    // For two cores: four files side by side, since the suites that start real processes mostly wait for them.
    maxWorkers: 4,
    testTimeout: 30_000 * proofScale,
    hookTimeout: 60_000,
  },
})
