import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { status } from '@grpc/grpc-js'
import { rateLimitService } from '../src/envoy/protos.js'
import { call } from './as-envoy.js'
import { startRateLimitProgram } from './rate-limit-program.js'
import type { RateLimitProgram } from './rate-limit-program.js'
import { startCluster } from './redis-cluster.js'
import type { ClusterGroup } from './redis-cluster.js'
import { startSentinels } from './redis-sentinel.js'
import type { SentinelGroup } from './redis-sentinel.js'

// The program with stores of the rate limit service's own: a master that Sentinel names, and a Cluster for limits per
// second. Its ledger is in memory.

let group: SentinelGroup
let cluster: ClusterGroup
let program: RateLimitProgram

beforeAll(async () => {
  group = await startSentinels({ sentinels: 1 })
  cluster = await startCluster()
  const { sentinel } = group.address
  program = await startRateLimitProgram(
    {
      'edge.yaml': `
domain: edge
descriptors:
  - { key: slow, rate_limit: { unit: year, requests_per_unit: 100 } }
  - { key: quick, rate_limit: { unit: second, requests_per_unit: 1000 } }
`,
    },
    {
      ledger: '{ kind: memory }',
      service: `
  mode: shared,
  redis: { sentinel: ${JSON.stringify(sentinel)}, timeoutMs: 1000 },
  perSecond: { cluster: ${JSON.stringify(cluster.address.cluster)}, timeoutMs: 1000 }`,
    },
  )
})
afterAll(async () => {
  await program.stop()
  await group.stop()
  await cluster.stop()
})

/** What is left of each descriptor, or the status of a call that failed. */
async function ask(...keys: readonly string[]): Promise<readonly number[] | string> {
  const answer = await call(program.client, rateLimitService.ShouldRateLimit, {
    domain: 'edge',
    descriptors: keys.map((key) => ({ entries: [{ key, value: 'v' }] })),
  })
  if (typeof answer === 'number') return status[answer] ?? ''
  return answer.statuses.map(({ limitRemaining = 0 }) => limitRemaining)
}

test('counts on the master that Sentinel names, and per second on the Cluster', async () => {
  expect(await ask('slow', 'quick')).toEqual([99, 999])
  const [master] = group.servers
  expect(await master.client.keys('*')).toEqual([expect.stringMatching(/^edge_slow_v_\d+$/)])
  const told = await Promise.all(cluster.masters.map(({ client }) => client.info('commandstats')))
  // The key may have expired since.
  expect(told.join('\n').match(/cmdstat_incrby:calls=\d+/g)).toEqual(['cmdstat_incrby:calls=1'])
  for (const key of await cluster.keys()) expect(key).toMatch(/^edge_quick_v_\d+$/)
})

test('goes on with the master that takes over', async () => {
  const [first, second] = group.servers
  await first.kill()
  await vi.waitFor(
    async () => {
      expect(await group.master()).toBe(second)
      expect(await ask('slow')).toEqual([expect.any(Number)])
    },
    { timeout: 25_000, interval: 50 },
  )
  expect(await second.client.keys('*')).toEqual([expect.stringMatching(/^edge_slow_v_\d+$/)])
})
