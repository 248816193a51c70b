import { defineConfig } from 'vitest/config'
import { alone, faults } from './test/projects.js'
import { proofScale } from './test/runs.js'

const all = {
  setupFiles: ['test/ended-by-signal.ts'],
  testTimeout: 30_000 * proofScale,
  hookTimeout: 60_000,
}

export default defineConfig({
  test: {
    // Once, not for each project.
    globalSetup: ['test/build.ts'],
    // For two cores: four files side by side, since the suites that start real processes mostly wait for them.
    maxWorkers: 4,
    projects: [
      { test: { ...all, name: 'alone', include: [...alone] } },
      {
        test: { ...all, name: 'faults', include: [...faults], exclude: [...alone], isolate: false },
      },
      {
        test: {
          ...all,
          name: 'together',
          include: ['test/**/*.test.ts'],
          exclude: [...alone, ...faults],
          isolate: false,
        },
      },
    ],
  },
})
