import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createRedisProcesses } from '../../src/quota/redis-processes.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'

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
const LOCAL = 'tg2:{processes}:local'

/** As if a process had been seen so long ago. */
async function silentFor(process: string, ms: number): Promise<void> {
  const [seconds] = await redis.client.time()
  await redis.client.zadd(KEY, Number(seconds) * 1000 - ms, process)
}

test('each process is counted once, and told whether it is new and who is silent for longest', async () => {
  const [one, other] = [open('one'), open('other')]
  const first = await one.census(undefined)
  expect(first).toMatchObject({ processes: 1, joined: true, lastLocalMs: undefined })
  expect(first.oldestMs).toBe(first.atMs)
  const second = await other.census(undefined)
  expect(second).toMatchObject({ processes: 2, joined: true, oldestMs: first.atMs })
  const third = await one.census(undefined)
  expect(third).toMatchObject({ processes: 2, joined: false, oldestMs: second.atMs })
})

test('who was silent for more than a minute counts no more, and is new when it comes back', async () => {
  await silentFor('gone', 62_000)
  await silentFor('silent', 50_000)
  expect(await open('one').census(undefined)).toMatchObject({ processes: 2 })
  expect(await redis.client.zrange(KEY, '0', '-1')).toEqual(['silent', 'one'])
  expect(await open('gone').census(undefined)).toMatchObject({ processes: 3, joined: true })
})

test('the last local admission of any of them is told to all, and no earlier one replaces it', async () => {
  const [one, other] = [open('one'), open('other')]
  const told = await one.census(1000)
  expect(told.lastLocalMs).toBe(told.atMs - 1000)
  expect((await other.census(100_000)).lastLocalMs).toBe(told.lastLocalMs)
  const later = await other.census(10)
  expect((await one.census(undefined)).lastLocalMs).toBe(later.atMs - 10)
})

test('its keys have an end, and say nothing of a host', async () => {
  await open('random-id').census(5)
  expect((await redis.client.keys('*')).sort()).toEqual([KEY, LOCAL])
  expect(await redis.client.pttl(KEY)).toBeLessThanOrEqual(120_000)
  // Longer than any window.
  expect(await redis.client.pttl(LOCAL)).toBeGreaterThan(366 * 86_400_000)
})

test('a census that came too late has counted nobody', async () => {
  const late = open('late', 30)
  await vi.waitFor(() => late.census(undefined), { timeout: 20_000, interval: 10 })
  await redis.client.flushall()
  redis.pause()
  await expect(late.census(undefined)).rejects.toThrow(DependencyError)
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
  await silentFor('gone', 62_000)
  const one = open('one', 5000, { ...redis.address, user: 'tollgate', passwordFile })
  expect(await one.census(1)).toMatchObject({ processes: 1 })
  rmSync(directory, { recursive: true })
})
