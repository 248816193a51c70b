/**
 * Files of tests that run in a process of their own. All others run one after the other in a few, which saves a third of
 * the time; what these do to modules would be seen by the next: they mock some, or their helpers have hooks outside of
 * any test, which are heard by the first file alone. `projects.test.ts` finds one that is missing.
 */
export const alone: readonly string[] = [
  'test/cli/serve.test.ts',
  'test/identity/fetch-json-lookup.test.ts',
  'test/identity/remembered.test.ts',
  'test/ratelimit/*.test.ts',
]

/** Those that try Redis and Envoy rather than Node: CI leaves them out under its second Node. */
export const faults: readonly string[] = [
  'test/**/*-faults.test.ts',
  'test/**/*-failover.test.ts',
  'test/**/*-outage.test.ts',
  'test/**/race*.test.ts',
  'test/**/store-failure*.test.ts',
]
