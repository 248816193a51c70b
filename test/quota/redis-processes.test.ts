import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createRedisProcesses } from '../../src/quota/redis/redis-processes.js'
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
const TOLD = 'tg2:{processes}:told'
const LOCAL = 'tg2:{processes}:local'

const nothing = { toldMs: undefined, local: undefined }

/** As if a process had been seen, and told, so long ago. */
async function silentFor(process: string, ms: number): Promise<void> {
  const [seconds] = await redis.client.time()
  await redis.client.zadd(KEY, Number(seconds) * 1000 - ms, process)
  await redis.client.zadd(TOLD, Number(seconds) * 1000 - ms, process)
}

test('each process is counted once, and told what all of them have received', async () => {
  const [one, other] = [open('one'), open('other')]
  const first = await one.census(nothing)
  expect(first).toMatchObject({ processes: 1, joined: true, lastLocal: undefined })
  expect(first.allToldMs).toBe(-first.atMs)
  const second = await other.census(nothing)
  expect(second).toMatchObject({ processes: 2, joined: true, allToldMs: -second.atMs })
  const third = await one.census({ ...nothing, toldMs: first.atMs })
  expect(third).toMatchObject({ processes: 2, joined: false, allToldMs: -second.atMs })
  const fourth = await other.census({ ...nothing, toldMs: second.atMs })
  expect(fourth).toMatchObject({ processes: 2, joined: false, allToldMs: first.atMs })
})

test('an answer that is lost has told nothing: who has received none since it came is new, and nobody takes it for told', async () => {
  const [one, other] = [open('one'), open('other')]
  const first = await one.census(nothing)
  await one.census({ ...nothing, toldMs: first.atMs })
  const second = await other.census(nothing)
  for (let times = 0; times < 3; times += 1) await one.census({ ...nothing, toldMs: first.atMs })
  const later = await other.census({ ...nothing, toldMs: second.atMs })
  expect(later.allToldMs).toBe(first.atMs)
  // It comes back after it was forgotten, or to a store that lost its memory.
  await redis.client.flushall()
  for (let times = 0; times < 2; times += 1) {
    const again = await one.census({ ...nothing, toldMs: first.atMs })
    expect(again.joined).toBe(true)
    expect(again.allToldMs).toBeLessThan(0)
  }
})

test('who was silent for more than a minute counts no more, and is new when it comes back', async () => {
  await silentFor('gone', 62_000)
  await silentFor('silent', 50_000)
  expect(await open('one').census(nothing)).toMatchObject({ processes: 2 })
  for (const key of [KEY, TOLD]) {
    expect((await redis.client.zrange(key, '0', '-1')).sort()).toEqual(['one', 'silent'])
  }
  expect(await open('gone').census({ ...nothing, toldMs: 1 })).toMatchObject({
    processes: 3,
    joined: true,
  })
})

test('the last local admission of any of them is told to all, with the latest count, and no earlier one replaces either', async () => {
  const [one, other] = [open('one'), open('other')]
  const used = (agoMs: number, countedMs: number) => ({ ...nothing, local: { agoMs, countedMs } })
  const told = await one.census(used(1000, 7))
  expect(told.lastLocal).toEqual({ atMs: told.atMs - 1000, countedMs: 7 })
  expect((await other.census(used(100_000, 6))).lastLocal).toEqual(told.lastLocal)
  expect((await other.census(used(100_000, 8))).lastLocal).toEqual({
    ...told.lastLocal,
    countedMs: 8,
  })
  const later = await other.census(used(10, 5))
  expect((await one.census(nothing)).lastLocal).toEqual({ atMs: later.atMs - 10, countedMs: 8 })
})

test('its keys have an end, and say nothing of a host', async () => {
  await open('random-id').census({ ...nothing, local: { agoMs: 5, countedMs: 1 } })
  expect((await redis.client.keys('*')).sort()).toEqual([KEY, LOCAL, TOLD])
  for (const key of [KEY, TOLD]) expect(await redis.client.pttl(key)).toBeLessThanOrEqual(120_000)
  // Longer than any window.
  expect(await redis.client.pttl(LOCAL)).toBeGreaterThan(366 * 86_400_000)
})

test('a census that came too late has counted nobody', async () => {
  const late = open('late', 30)
  await vi.waitFor(() => late.census(nothing), { timeout: 20_000, interval: 10 })
  await redis.client.flushall()
  redis.pause()
  await expect(late.census(nothing)).rejects.toThrow(DependencyError)
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
  expect(await one.census({ toldMs: 1, local: { agoMs: 1, countedMs: 1 } })).toMatchObject({
    processes: 1,
  })
  rmSync(directory, { recursive: true })
})
