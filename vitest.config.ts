import { defineConfig } from 'vitest/config'
import { proofScale } from './test/runs.js'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/build.ts'],
    // Two cores: the end-to-end suites start real processes, so no more than two files run side by side.
    maxWorkers: 2,
    testTimeout: 30_000 * proofScale,
    hookTimeout: 60_000,
  },
})
