import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { Window } from '../../src/quota/quota.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { manyRuns } from '../runs.js'
import { onRedis } from './on-redis.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

const on = onRedis()
const DAY_MS = 86_400_000
const PARTITION = 'tg2:{0}:p:user-minute a'
const startMs = Date.parse('2026-02-02T00:00:00Z')

function open(): Ledger<string> {
  return createRedisLedger<string>({
    ...{ store: on.store, clock: systemClock, timeoutMs: 5000, moments: 'given' },
  })
}

const sliding = (lengthMs: number): Window => ({ kind: 'sliding', lengthMs })
const fixed = (lengthMs: number): Window => ({ kind: 'fixed', lengthMs })

/** Windows of one quota that policies may have in turn. */
const kinds: readonly (readonly Window[])[] = [
  [sliding(7000), sliding(60_000), sliding(64_000), sliding(1000)],
  [sliding(7 * DAY_MS), sliding(31 * DAY_MS - 1)],
  [calendar('minute'), calendar('hour'), calendar('day', 'Asia/Tokyo'), calendar('day')],
  [fixed(5000), fixed(60_000), fixed(7777)],
]

/** As a release does that does not merge moves, when the window changes once more. */
function dropOldestMove(): Promise<unknown> {
  return on.redis.client.eval(
    `local state = cmsgpack.unpack(redis.call('GET', KEYS[1]))
    table.remove(state.moves, 1)
    redis.call('SET', KEYS[1], cmsgpack.pack(state), 'KEEPTTL')`,
    ...[1, PARTITION],
  )
}

/** A quota's windows in turn, one after the other; what is open goes through all of them. */
function requestsUnder(windows: readonly Window[], ledgers: readonly Ledger<string>[]) {
  let turn = 0
  let made = 0
  const quota = () => quotaOf({ limit: 1000, window: windows[turn % windows.length] as Window })
  return {
    /** Under the window of the turn. @returns the answers of the ledgers, with what is left */
    async reserve(amount: number, atMs: number) {
      made += 1
      const id = `r${String(made)}`
      const holds = [holdOf(quota(), amount)]
      const request = { id, idempotencyKey: id, context: '', leaseMs: 400 * DAY_MS, holds }
      return Promise.all(ledgers.map((ledger) => ledger.reserve(request, atMs)))
    },
    /** So many processes with one policy after the other look at the quota. */
    async change(times: number, stepMs: number, atMs: number) {
      for (let changed = 1; changed <= times; changed += 1) {
        turn += 1
        await this.reserve(0, atMs + changed * stepMs)
      }
      return atMs + times * stepMs
    },
    async settle(id: string, inputTokens: number, atMs: number) {
      const end = { kind: 'settled', inputTokens, outputTokens: 0 } as const
      const ended = await Promise.all(ledgers.map((ledger) => ledger.end(id, end, atMs)))
      return ended.map((each) => each?.charges)
    },
    async balances(atMs: number) {
      const hold = holdOf(quota(), 0)
      return Promise.all(ledgers.map((ledger) => ledger.balances([hold], atMs)))
    },
  }
}

test.each([
  ['sliding windows', [sliding(7 * DAY_MS), sliding(30 * DAY_MS)]],
  ['calendars of two time zones', [calendar('day'), calendar('day', 'Asia/Tokyo')]],
  ['fixed windows', [fixed(7 * DAY_MS), fixed(30 * DAY_MS)]],
] as const)(
  'what is not used comes back, however often the window changed meanwhile: %s',
  async (_, windows) => {
    await on.redis.client.flushall()
    const requests = requestsUnder(windows, [open()])
    await requests.reserve(900, startMs)
    const oneMs = await requests.change(5, 500, startMs)
    await requests.reserve(50, oneMs)
    const atMs = await requests.change(95, 500, oneMs)
    expect(await requests.balances(atMs)).toMatchObject([[{ spent: 0, reserved: 950 }]])
    await requests.settle('r1', 10, atMs)
    await requests.settle('r7', 7, atMs)
    expect(await requests.balances(atMs)).toMatchObject([[{ spent: 17, reserved: 0 }]])
  },
)

test.each([
  ['before its first change', 0],
  ['after its first change', 1],
  ['after changes enough that the first is merged', 50],
] as const)(
  'what a window forgets gives nothing back, however often the window changes later: %s',
  async (_, changes) => {
    await on.redis.client.flushall()
    const requests = requestsUnder([sliding(60_000), sliding(120_000)], [open()])
    await requests.reserve(900, startMs)
    const changedMs = (await requests.change(changes, 1, startMs)) + 130_000
    await requests.reserve(40, changedMs)
    const atMs = await requests.change(100, 1, changedMs)
    await requests.settle('r1', 0, atMs)
    expect(await requests.balances(atMs)).toMatchObject([[{ spent: 0, reserved: 40 }]])
    await requests.settle(`r${String(changes + 2)}`, 0, atMs)
    expect(await requests.balances(atMs)).toMatchObject([[{ spent: 0, reserved: 0 }]])
  },
)

test('a partition whose window changes often is held in few bytes', async () => {
  await on.redis.client.flushall()
  const requests = requestsUnder([sliding(7 * DAY_MS), sliding(30 * DAY_MS)], [open()])
  await requests.reserve(900, startMs)
  await requests.change(200, 500, startMs)
  expect(await on.redis.client.strlen(PARTITION)).toBeLessThan(1000)
})

test('where an older release drops the oldest move, what that alone knew gives nothing back', async () => {
  await on.redis.client.flushall()
  const requests = requestsUnder([sliding(7 * DAY_MS), sliding(30 * DAY_MS)], [open()])
  await requests.reserve(900, startMs)
  const laterMs = await requests.change(95, 500, startMs)
  await requests.reserve(40, laterMs)
  const atMs = await requests.change(5, 500, laterMs)
  await dropOldestMove()
  await requests.settle('r1', 0, atMs)
  await requests.settle('r97', 0, atMs)
  expect(await requests.balances(atMs)).toMatchObject([[{ spent: 0, reserved: 900 }]])
})

describe('while two policies with different windows look in turn', () => {
  const lengths = [60_000, 120_000] as const

  test('what is used up stays so, until a window length after the last change', async () => {
    await on.redis.client.flushall()
    const ledgers = [createMemoryLedger<string>(), open()]
    const requests = requestsUnder(lengths.map(sliding), ledgers)
    await requests.reserve(1000, startMs)
    const usedUp = { spent: 0, reserved: 1000 }
    const laterMs = await requests.change(601, 1000, startMs)
    expect(await requests.balances(laterMs)).toMatchObject([[usedUp], [usedUp]])
    const atMs = laterMs + lengths[1]
    expect(await requests.balances(atMs)).toMatchObject([[usedUp], [usedUp]])
    const free = { spent: 0, reserved: 0 }
    const subWindowMs = lengths[1] / 64
    expect(await requests.balances(atMs + subWindowMs)).toMatchObject([[free], [free]])
  })

  test('a debt falls by parts of a unit', async () => {
    await on.redis.client.flushall()
    const ledgers = [createMemoryLedger<string>(), open()]
    const requests = requestsUnder(lengths.map(sliding), ledgers)
    await requests.reserve(0, startMs)
    await requests.settle('r1', 100, startMs)
    const atMs = await requests.change(400, 10, startMs)
    // Two seconds under each: of 1000 a minute, and of 1000 in two.
    const owed = { debt: 50 }
    expect(await requests.balances(atMs)).toMatchObject([[owed], [owed]])
  })

  test('no span of either admits more than the limit, where the longer looks whenever the shorter does', async () => {
    const limit = 100
    const lengthMs = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 20_000 }))
    const steps = fc.array(
      fc.record({
        byMs: fc.oneof(fc.nat(20), fc.nat(500), fc.nat(20_000)),
        shorter: fc.nat(limit),
        longer: fc.nat(limit),
      }),
      { minLength: 20, maxLength: 120 },
    )
    await fc.assert(
      fc.asyncProperty(lengthMs, lengthMs, steps, async (one, two, given) => {
        const [shorterMs, longerMs] = [Math.min(one, two), Math.max(one, two)]
        const ledger = createMemoryLedger<string>()
        const admitted: { atMs: number; amount: number }[] = []
        const ask = async (windowMs: number, amount: number, atMs: number) => {
          const id = String(admitted.length)
          const holds = [holdOf(quotaOf({ limit, window: sliding(windowMs) }), amount)]
          const request = { id, idempotencyKey: id, context: '', leaseMs: DAY_MS, holds }
          const { kind } = await ledger.reserve(request, atMs)
          admitted.push({ atMs, amount: kind === 'held' ? amount : 0 })
          const within = admitted.filter((each) => each.atMs > atMs - longerMs)
          expect(within.reduce((sum, each) => sum + each.amount, 0)).toBeLessThanOrEqual(limit)
        }
        let atMs = startMs
        for (const { byMs, shorter, longer } of given) {
          atMs += byMs
          await ask(shorterMs, shorter, atMs)
          await ask(longerMs, longer, atMs)
        }
      }),
      { numRuns: manyRuns(300) },
    )
  })
})

test('Redis finds what is open as the memory ledger does, through any changes of the window', async () => {
  const stepMs = fc.oneof(
    fc.integer({ min: 0, max: 50 }),
    fc.integer({ min: 0, max: 2000 }),
    fc.integer({ min: 0, max: 70_000 }),
  )
  const changes = fc.record({
    kind: fc.constant('change' as const),
    times: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 20, max: 40 })),
    stepMs,
  })
  const reserves = fc.record({
    kind: fc.constant('reserve' as const),
    amount: fc.integer({ min: 1, max: 300 }),
    stepMs,
  })
  const settles = fc.record({
    kind: fc.constant('settle' as const),
    which: fc.nat(1000),
    used: fc.integer({ min: 0, max: 320 }),
    stepMs,
  })
  const steps = fc.array(fc.oneof(changes, reserves, settles), { minLength: 10, maxLength: 25 })
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...kinds), steps, async (windows, given) => {
      await on.redis.client.flushall()
      const requests = requestsUnder(windows, [createMemoryLedger<string>(), open()])
      const openIds: string[] = []
      let atMs = startMs
      for (const step of given) {
        if (step.kind === 'change') {
          atMs = await requests.change(step.times, step.stepMs, atMs)
        } else if (step.kind === 'reserve') {
          atMs += step.stepMs
          const [inMemory, inRedis] = await requests.reserve(step.amount, atMs)
          expect(inRedis).toEqual(inMemory)
          if (inMemory?.kind === 'held') openIds.push(inMemory.reservation.id)
        } else {
          atMs += step.stepMs
          const [id] = openIds.splice(step.which % Math.max(1, openIds.length), 1)
          if (id === undefined) continue
          const [inMemory, inRedis] = await requests.settle(id, step.used, atMs)
          expect(inRedis).toEqual(inMemory)
        }
        const [inMemory, inRedis] = await requests.balances(atMs)
        expect(inRedis).toEqual(inMemory)
      }
    }),
    { numRuns: manyRuns(30) },
  )
})
