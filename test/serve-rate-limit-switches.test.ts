import { afterAll, beforeAll, expect, test } from 'vitest'
import { rateLimitService } from '../src/envoy/protos.js'
import type { RateLimitResponse } from '../src/envoy/wire.js'
import { call } from './as-envoy.js'
import { startRateLimitProgram } from './rate-limit-program.js'
import type { RateLimitProgram } from './rate-limit-program.js'
import { startRedis } from './redis-server.js'
import type { RedisServer } from './redis-server.js'

// Every switch of `rateLimitService` at another value than its default, seen from outside: each is wired.

let redis: RedisServer
let counters: RedisServer
let seconds: RedisServer
let program: RateLimitProgram

beforeAll(async () => {
  redis = await startRedis()
  counters = await startRedis()
  seconds = await startRedis()
  const rule = (unit: string, count: number): string =>
    `{ unit: ${unit}, requests_per_unit: ${String(count)} }`
  program = await startRateLimitProgram(
    {
      'a.yaml': `
domain: edge
descriptors:
  - { key: ten, rate_limit: ${rule('year', 10)} }
  - { key: one, rate_limit: ${rule('year', 1)}, metadata: { said: one } }
`,
      'b.yaml': `
domain: edge
descriptors:
  - { key: two, rate_limit: ${rule('year', 2)} }
  - { key: quick, rate_limit: ${rule('second', 1000)} }
`,
    },
    {
      ledger: `{ kind: redis, url: '${redis.address.url}', timeoutMs: 500 }`,
      service: `
  mergeDomains: true, mode: shared, stopWhenOver: true, shadowMode: true, quotaMode: true,
  redis: { url: '${counters.address.url}', timeoutMs: 1000 },
  perSecond: { url: '${seconds.address.url}', timeoutMs: 1000 },
  cacheKeyPrefix: 'p:', expirationJitterMaxSeconds: 0, localCacheBytes: 65536, nearLimitRatio: 0.5,
  responseDynamicMetadata: true,
  responseHeaders: { enabled: true, limit: L, remaining: R, reset: S }`,
    },
  )
})
afterAll(async () => {
  await program.stop()
  for (const server of [redis, counters, seconds]) await server.stop()
})

/** Descriptors as `key=value hits`. */
async function ask(...descriptors: string[]): Promise<RateLimitResponse> {
  const answer = await call(program.client, rateLimitService.ShouldRateLimit, {
    domain: 'edge',
    descriptors: descriptors.map((text) => {
      const [, key = '', value = '', hits] = /^(\w+)=(\w+) (\d+)$/.exec(text) ?? []
      return { entries: [{ key, value }], hitsAddend: { value: Number(hits) } }
    }),
  })
  if (typeof answer === 'number') throw new Error(`status ${String(answer)}`)
  return answer
}

const hits = (key: string, result: string): Promise<number> =>
  program.metric(`tollgate_rate_limit_hits_total{key="edge.${key}",result="${result}"}`)
const remaining = (answer: RateLimitResponse): (number | undefined)[] =>
  answer.statuses.map(({ limitRemaining }) => limitRemaining)

test('mode, redis, perSecond, cacheKeyPrefix, expirationJitterMaxSeconds and mergeDomains', async () => {
  expect(remaining(await ask('ten=keys 1', 'two=keys 1', 'quick=keys 1'))).toEqual([9, 1, 999])
  const keys = async ({ client }: RedisServer) => (await client.keys('*')).sort()
  expect(await keys(counters)).toEqual([
    expect.stringMatching(/^p:edge_ten_keys_\d+$/),
    expect.stringMatching(/^p:edge_two_keys_\d+$/),
  ])
  // It may have expired since: that it is not with the others is told above.
  for (const key of await keys(seconds)) expect(key).toMatch(/^p:edge_quick_keys_\d+$/)
  expect(await seconds.client.info('commandstats')).toMatch(/cmdstat_incrby:calls=1,/)
  const [first = ''] = await keys(counters)
  expect(await counters.client.ttl(first)).toBeLessThanOrEqual(365 * 86_400)
  expect((await keys(redis)).filter((key) => key.includes('edge'))).toEqual([])
})

test('nearLimitRatio', async () => {
  await ask('ten=near 7')
  expect(await hits('ten', 'near_limit')).toBe(2)
})

test('stopWhenOver, localCacheBytes', async () => {
  expect(remaining(await ask('one=stop 2', 'ten=stop 3'))).toEqual([0, 10])
  expect(await hits('one', 'over_limit_with_local_cache')).toBe(0)
  await ask('one=stop 2')
  expect(await hits('one', 'over_limit_with_local_cache')).toBe(2)
})

test('shadowMode, quotaMode, responseHeaders', async () => {
  // The decoder leaves enums as numbers: OK is 1, OVER_LIMIT is 2.
  const { overallCode, statuses, responseHeadersToAdd } = await ask('one=all 5', 'two=all 5')
  expect(overallCode).toBe(1)
  expect(statuses.map(({ code }) => code)).toEqual([2, 2])
  // Were they in no quota mode, it would be the last one that is over.
  expect(
    responseHeadersToAdd?.map(({ key, value }) => (key === 'S' ? key : `${key} ${value ?? ''}`)),
  ).toEqual(['L 1', 'R 0', 'S'])
})

test('responseDynamicMetadata', async () => {
  const { dynamicMetadata } = await ask('one=told 1')
  expect(Object.keys(dynamicMetadata?.fields ?? {}).sort()).toEqual([
    'descriptors',
    'domain',
    'metadata',
    'quotaModeEnabled',
  ])
})
