import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Hold } from '../../src/quota/ledger.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { fewRuns } from '../runs.js'
import { startLedgerProcess } from './ledger-process.js'
import type { BurstResult, LedgerProcess } from './ledger-process.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

// Four real processes with the built ledger. Redis stands still until each has its 64 calls under way, so that they
// are at it together, however the machine schedules them.

const PROCESSES = 4
const IN_FLIGHT = 64
const ATTEMPTS = 10_000
const LIMIT = 1000

let redis: RedisServer
let processes: readonly LedgerProcess[] = []
beforeAll(async () => {
  redis = await startRedis()
  processes = await startAll([0, 0, 0, 0])
})
afterAll(async () => {
  for (const each of processes) await each.kill()
  await redis.stop()
})
beforeEach(() => redis.client.flushall())

function startAll(skewsMs: readonly number[]): Promise<readonly LedgerProcess[]> {
  const { url } = redis.address
  return Promise.all(skewsMs.map((skewMs) => startLedgerProcess({ url, skewMs, sliced: true })))
}

/** Every process asks `ATTEMPTS / PROCESSES` times for these holds, in turn. */
async function race(
  racers: readonly LedgerProcess[],
  holds: readonly (readonly Hold[])[],
): Promise<BurstResult> {
  redis.pause()
  const bursts: Promise<BurstResult>[] = []
  await Promise.all(
    racers.map(
      (racer, index) =>
        new Promise<void>((resolve) => {
          const size = { attempts: ATTEMPTS / PROCESSES, inFlight: IN_FLIGHT, leaseMs: 600_000 }
          bursts.push(racer.burst({ name: String(index), ...size, holds }, resolve))
        }),
    ),
  )
  redis.resume()
  const results = await Promise.all(bursts)
  return {
    held: results.flatMap(({ held }) => held),
    short: results.reduce((sum, { short }) => sum + short, 0),
    failed: results.reduce((sum, { failed }) => sum + failed, 0),
  }
}

const day = quotaOf({
  name: 'day',
  limit: LIMIT,
  window: { kind: 'sliding', lengthMs: 86_400_000 },
})

async function reservedIn(holds: readonly Hold[]): Promise<readonly number[]> {
  const balances = await processes[0]?.balances(holds)
  return (balances ?? []).map(({ reserved }) => reserved)
}

test('four processes with 64 calls in flight each, 10,000 attempts on a limit of 1,000: exactly 1,000 are held', async () => {
  for (let run = 0; run < fewRuns; run += 1) {
    await redis.client.flushall()
    const { held, short, failed } = await race(processes, [[holdOf(day, 1)]])
    expect([held.length, short, failed]).toEqual([LIMIT, ATTEMPTS - LIMIT, 0])
    expect(new Set(held.map(({ id }) => id)).size).toBe(LIMIT)
    expect(await reservedIn([holdOf(day, 0)])).toEqual([LIMIT])
  }
})

test('where two levels bind, each is held exactly as often as the other, and neither too often', async () => {
  const user = quotaOf({ name: 'user', limit: 300, window: calendar('month') })
  const users = ['a', 'b', 'c', 'd']
  for (let run = 0; run < fewRuns; run += 1) {
    await redis.client.flushall()
    // The levels stand in another order each time: whoever locked one after the other would hang.
    const holds = users.map((name, index) => {
      const levels = [holdOf(day, 1, 'tenant'), holdOf(user, 1, name)]
      return index % 2 === 0 ? levels : levels.reverse()
    })
    const { held, failed } = await race(processes, holds)
    expect([held.length, failed]).toEqual([LIMIT, 0])
    const [tenant = 0, ...each] = await reservedIn([
      holdOf(day, 0, 'tenant'),
      ...users.map((name) => holdOf(user, 0, name)),
    ])
    expect(tenant).toBe(LIMIT)
    expect(each.reduce((sum, reserved) => sum + reserved, 0)).toBe(LIMIT)
    expect(Math.max(...each)).toBeLessThanOrEqual(user.limit)
  }
})

test('processes whose clocks are an hour and more off hold exactly the limit, at moments of Redis, and end no lease early', async () => {
  const HOUR_MS = 3_600_000
  // A window that each of them would see elsewhere, if it went by its own clock.
  const hour = quotaOf({ name: 'hour', limit: LIMIT, window: calendar('hour') })
  const redisMs = async (): Promise<number> => Number((await redis.client.time())[0]) * 1000
  const racers = await startAll([-HOUR_MS, 0, HOUR_MS, 25 * HOUR_MS])
  try {
    for (let run = 0; run < fewRuns;) {
      await redis.client.flushall()
      const beganMs = await redisMs()
      const { held, short, failed } = await race(racers, [[holdOf(hour, 1)]])
      const endedMs = await redisMs()
      // A race during which the hour went round may hold twice the limit: it says nothing.
      if (Math.floor(beganMs / HOUR_MS) !== Math.floor(endedMs / HOUR_MS)) continue
      run += 1
      expect([held.length, short, failed]).toEqual([LIMIT, ATTEMPTS - LIMIT, 0])
      const moments = held.map(({ admittedAtEpochMs }) => admittedAtEpochMs)
      expect(Math.min(...moments)).toBeGreaterThanOrEqual(beganMs)
      expect(Math.max(...moments)).toBeLessThan(endedMs + 1000)
      for (const racer of racers) expect(await racer.expire()).toEqual([])
      expect((await racers[3]?.balances([holdOf(hour, 0)]))?.[0]?.reserved).toBe(LIMIT)
    }
  } finally {
    for (const racer of racers) await racer.kill()
  }
})

test('four processes with slices, one of them killed: never more than the limit is held, and nine tenths at least', async () => {
  const month = quotaOf({ name: 'sliced', limit: LIMIT, window: calendar('month'), slices: true })
  const { url } = redis.address
  const [, ...survivors] = processes
  for (let run = 0, tries = 0; run < fewRuns; tries += 1) {
    // A partition of its own each time: what survives may have slices of the last one still.
    const holdOfThis = (amount: number): Hold => holdOf(month, amount, `of try ${String(tries)}`)
    const dying = await startLedgerProcess({ url, sliced: true, killAfter: 8 })
    let admitted = 0
    let dead = false
    let bursts = 0
    const ask = (
      racer: LedgerProcess,
      attempts: number,
      inFlight: number,
    ): Promise<BurstResult> => {
      const name = `${String(tries)} ${String((bursts += 1))}`
      const burst = { name, attempts, inFlight, holds: [[holdOfThis(4)]], leaseMs: 600_000 }
      return racer.burst(burst, undefined, () => (admitted += 4))
    }
    const askUntil = async (racer: LedgerProcess, most: number): Promise<void> => {
      while (!dead && admitted < most) await ask(racer, 10, 1)
    }
    await Promise.all([
      askUntil(dying, LIMIT / 2).catch(() => (dead = true)),
      ...survivors.map((racer) => askUntil(racer, LIMIT / 10)),
    ])
    if (!dead) {
      // The others had all that may be in slices at once: it says nothing.
      await dying.kill()
      continue
    }
    run += 1
    await Promise.all(survivors.map((racer) => ask(racer, ATTEMPTS / PROCESSES, IN_FLIGHT)))
    const [balance] = (await survivors[0]?.balances([holdOfThis(0)])) ?? []
    const reserved = balance?.reserved ?? NaN
    process.stdout.write(
      `slices of four processes, one of them killed (SIGKILL): ${String(admitted)} of ${String(LIMIT)} admitted, ${String(reserved)} reserved\n`,
    )
    // It had slices.
    expect(reserved).toBeGreaterThan(admitted)
    expect(reserved).toBeLessThanOrEqual(LIMIT)
    expect(admitted).toBeGreaterThanOrEqual(0.9 * LIMIT)
  }
})
