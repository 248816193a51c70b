import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createShares } from '../../src/quota/failover/shares.js'
import { createRedisProcesses } from '../../src/quota/redis/redis-processes.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { describeClaims } from './claims.contract.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())
beforeEach(() => redis.client.flushall())

const stores: Store[] = []
afterEach(() => {
  for (const store of stores.splice(0)) store.close()
})

function open(processId: string, timeoutMs = 5000, address = redis.address) {
  const store = openStore(address, { clock: systemClock, random: Math.random })
  stores.push(store)
  return createRedisProcesses({ store, clock: systemClock, timeoutMs, processId })
}

const KEY = 'tg2:{processes}'
const SHARES = 'tg2:{processes}:shares'

const fresh = createShares(1).said(0)

describeClaims('Redis', () => {
  let momentMs = 0
  const store = openStore(redis.address, { clock: systemClock, random: Math.random })
  stores.push(store)
  return {
    async census(processId, said, nowMs) {
      momentMs = nowMs
      const given = { store, clock: systemClock, timeoutMs: 5000, processId }
      return createRedisProcesses({ ...given, momentMs: () => momentMs }).census(said)
    },
    lose: async () => {
      await redis.client.flushall()
    },
  }
})

test('moments are those of Redis', async () => {
  const { atMs } = await open('one').census(fresh)
  const [seconds] = await redis.client.time()
  expect(Math.abs(Number(seconds) * 1000 - atMs)).toBeLessThan(5000)
})

test('who was silent for more than a minute counts no more', async () => {
  const [seconds] = await redis.client.time()
  await redis.client.zadd(KEY, Number(seconds) * 1000 - 62_000, 'gone')
  await redis.client.zadd(KEY, Number(seconds) * 1000 - 50_000, 'silent')
  expect(await open('one').census(fresh)).toMatchObject({ processes: 2 })
  expect((await redis.client.zrange(KEY, '0', '-1')).sort()).toEqual(['one', 'silent'])
})

test('its keys have an end, and say nothing of a host', async () => {
  const claims = fresh.claims.map(() => 2)
  await open('random-id').census({ ...fresh, claims, used: { agoMs: 5, divisors: claims } })
  expect((await redis.client.keys('*')).sort()).toEqual([KEY, SHARES])
  // Longer than any window.
  for (const key of [KEY, SHARES]) {
    expect(await redis.client.pttl(key)).toBeGreaterThan(366 * 86_400_000)
  }
})

test('a census that came too late has counted nobody', async () => {
  const late = open('late', 30)
  await vi.waitFor(() => late.census(fresh), { timeout: 20_000, interval: 10 })
  await redis.client.flushall()
  redis.pause()
  await expect(late.census(fresh)).rejects.toThrow(DependencyError)
  redis.resume()
  expect(await redis.client.exists(KEY)).toBe(0)
})

test('a user of Redis needs no more than the rights that docs/configuration.md names', async () => {
  const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  const rights = /^ACL SETUSER tollgate on >PASSWORD (.*)$/m.exec(page)?.[1]?.split(' ') ?? []
  await redis.client.call('ACL', 'SETUSER', 'tollgate', 'on', '>word', ...rights)
  const directory = mkdtempSync(join(tmpdir(), 'acl-'))
  const passwordFile = join(directory, 'password')
  writeFileSync(passwordFile, 'word')
  const one = open('one', 5000, { ...redis.address, user: 'tollgate', passwordFile })
  const claims = fresh.claims.map(() => 2)
  const said = { ...fresh, claims, used: { agoMs: 5, divisors: claims } }
  expect(await one.census(said)).toMatchObject({ processes: 1 })
  await redis.client.zadd(KEY, 1, 'one')
  const known = { atMs: 1, entries: '{"entries":{"other":[2,2,2,2,2,2,0,0,0,0,0,0,0,0]}}' }
  expect(await one.census({ ...said, known })).toMatchObject({ processes: 2 })
  expect(await one.census({ ...said, leaving: true })).toMatchObject({ processes: 1 })
  rmSync(directory, { recursive: true })
})
