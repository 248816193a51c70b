import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { End, Hold, Ledger } from '../../src/quota/ledger.js'
import type { Buckets } from '../../src/quota/redis/buckets.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import type { Store } from '../../src/store/store.js'
import { amountAtEnd, amountToReserve } from '../../src/quota/units.js'
import { proofScale, runs } from '../runs.js'
import { createExactModel } from './exact-model.js'
import type { ModelHold } from './exact-model.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { greedy } from './slicing.js'

/** Where the processes have their ledger. */
export interface SlicedPlace {
  readonly store: Store
  readonly buckets: Buckets
  flush(): Promise<unknown>
}

const PROCESSES = 3
const HOUR_MS = 3_600_000
const FIXED_MS = 1300
const startMs = Date.parse('2026-02-02T00:59:59.500Z')
const quotas = [
  quotaOf({ name: 'second', limit: 100, window: { kind: 'sliding', lengthMs: 977 } }),
  quotaOf({ name: 'minute', limit: 300, window: { kind: 'sliding', lengthMs: 60_000 } }),
  quotaOf({ name: 'hour', limit: 700, window: calendar('hour') }),
  quotaOf({ name: 'requests', unit: 'requests', limit: 30 }),
  quotaOf({ name: 'parallel', unit: 'in_flight', limit: 12, window: { kind: 'open' } }),
  quotaOf({ name: 'shadow', limit: 60, shadow: true }),
  quotaOf({ name: 'fixed', limit: 200, window: { kind: 'fixed', lengthMs: FIXED_MS } }),
]
const partitions = ['a', 'b']

/** The first four are of a tenant, so of one bucket; each of the others is where its own key is. */
function holdIn(index: number, amount: number, partition: string): Hold {
  const hold = holdOf(quotas[index] ?? quotaOf(), amount, partition)
  return index < 4 ? { ...hold, partitionKey: `{${partition}}${hold.quota.name}` } : hold
}

const which = fc.nat({ max: 40 })
const asker = fc.nat({ max: PROCESSES - 1 })
const amounts = { inputTokens: fc.nat({ max: 9 }), outputTokens: fc.nat({ max: 9 }) }
const ask = fc.record({
  by: asker,
  quotas: fc.oneof(
    { weight: 3, arbitrary: fc.constant<number[]>([0, 1, 2, 3, 4, 5, 6]) },
    { weight: 2, arbitrary: fc.constant<number[]>([0, 1, 2, 3]) },
    fc.subarray<number>([0, 1, 2, 3, 4, 5, 6], { minLength: 1 }),
  ),
  partition: fc.constantFrom('a', 'a', 'b'),
  ...amounts,
})
const command = fc.oneof(
  {
    weight: 6,
    // Several at the same time, of the same and of different processes.
    arbitrary: fc.record({
      do: fc.constant('reserve' as const),
      asks: fc.array(ask, { minLength: 1, maxLength: 8 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('twice' as const), ask, by: asker }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('end' as const),
      which,
      by: asker,
      part: fc.nat({ max: 100 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('abandon' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expire' as const), by: asker }) },
)
const stepMs = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 20 }) },
  { weight: 3, arbitrary: fc.nat({ max: 400 }) },
  { weight: 1, arbitrary: fc.nat({ max: 100_000 }) },
)

interface Known {
  readonly id: string
  readonly by: number
  /** The other answer that carries it, and who gave it: its id leads to the same reservation there. */
  readonly other?: { readonly id: string; readonly by: number }
  readonly modelHolds: readonly ModelHold[]
}

/** Several processes on one Redis that take slices of everything, against the exact model of what they admit. */
function createHouse(processes: readonly Ledger<string>[]) {
  const model = createExactModel(({ window }, fromMs, toMs) => {
    const lengthMs = window.kind === 'fixed' ? FIXED_MS : HOUR_MS
    return Math.floor(toMs / lengthMs) - Math.floor(fromMs / lengthMs)
  })
  // A debt falls by it.
  for (const partition of partitions) {
    for (const [index, { limit }] of quotas.entries()) {
      const { partitionKey } = holdIn(index, 0, partition)
      model.record(partitionKey, { atMs: startMs, kind: 'limit', limit })
    }
  }
  const open: Known[] = []
  let nowMs = startMs
  let asked = 0

  const ledgerOf = (by: number) => processes[by] as Ledger<string>
  const holdsOf = (request: { quotas: readonly number[]; partition: string } & Amounts): Hold[] =>
    request.quotas.map((index) => {
      const { unit } = quotas[index] ?? quotaOf()
      return holdIn(index, amountToReserve(unit, request), request.partition)
    })
  const fits = (holds: readonly Hold[]): boolean =>
    holds.every((hold) => hold.quota.shadow || hold.amount <= model.room(hold, nowMs))

  const request = (holds: readonly Hold[], id: string, idempotencyKey = id) => {
    return { id, idempotencyKey, holds, context: id, leaseMs: 10 ** 9 }
  }
  const admit = (id: string, by: number, holds: readonly Hold[], other?: Known['other']): void => {
    expect(fits(holds), 'no overshoot').toBe(true)
    const modelHolds = model.admit(holds, nowMs)
    open.push({ id, by, modelHolds, ...(other === undefined ? {} : { other }) })
  }

  return {
    open,
    step(byMs: number): void {
      nowMs += byMs
    },

    async reserve(
      asks: readonly ({ by: number; quotas: number[]; partition: string } & Amounts)[],
    ) {
      const answers = await Promise.all(
        asks.map(async ({ by, ...what }) => {
          const holds = holdsOf(what)
          const id = `r${String((asked += 1))}`
          return { by, holds, answer: await ledgerOf(by).reserve(request(holds, id), nowMs) }
        }),
      )
      for (const { by, holds, answer } of answers) {
        if (answer.kind === 'held') admit(answer.reservation.id, by, holds)
      }
      for (const { by, holds, answer } of answers) {
        if (answer.kind === 'held') continue
        // It was refused for what the others hold at most: without that the answer is exact.
        for (const other of processes) await other.balances(holds, nowMs)
        const id = `r${String((asked += 1))}`
        const again = await ledgerOf(by).reserve(request(holds, id), nowMs)
        expect(again.kind).toBe(fits(holds) ? 'held' : 'short')
        if (again.kind === 'held') admit(again.reservation.id, by, holds)
      }
    },

    /** Two processes are asked under one key: one reservation, whichever answers carry it. */
    async twice(
      first: { by: number; quotas: number[]; partition: string } & Amounts,
      second: number,
    ) {
      const holds = holdsOf(first)
      const key = `key ${String((asked += 1))}`
      const answers: { id: string; by: number }[] = []
      for (const by of [first.by, second]) {
        const id = `${key} ${String(answers.length)}`
        const answer = await ledgerOf(by).reserve(request(holds, id, key), nowMs)
        if (answer.kind === 'held') answers.push({ id: answer.reservation.id, by })
      }
      for (const ledger of processes) await ledger.expire(nowMs)
      const [one, other] = answers
      if (one !== undefined) admit(one.id, one.by, holds, other)
    },

    async end(known: Known, by: number, partOf100: number) {
      const inputTokens = Math.floor(
        (Math.max(...known.modelHolds.map(({ amount }) => amount)) * partOf100) / 100,
      )
      const way = known.other ?? { id: known.id, by }
      // Another process knows it from its adoption on.
      if (way.by !== known.by) await ledgerOf(known.by).expire(nowMs)
      const end: End = { kind: 'settled', inputTokens, outputTokens: 0 }
      const ended = await ledgerOf(way.by).end(way.id, end, nowMs)
      expect(ended?.outcome).toBe('settled')
      for (const hold of known.modelHolds) {
        const actual = amountAtEnd(hold.quota.unit, end) ?? hold.amount
        const owes = hold.quota.window.kind === 'open' ? 0 : Math.max(0, actual - hold.amount)
        hold.open = false
        hold.counts = Math.min(hold.amount, actual)
        if (owes > 0) model.record(hold.partitionKey, { atMs: nowMs, kind: 'owed', amount: owes })
      }
    },

    async abandon(known: Known) {
      const ended = await ledgerOf(known.by).abandon(known.id, nowMs)
      // One that two answers may carry stays, until its report.
      if (ended === undefined) return
      for (const hold of known.modelHolds) {
        hold.open = false
        hold.counts = 0
      }
      open.splice(open.indexOf(known), 1)
    },

    expire: (by: number) => ledgerOf(by).expire(nowMs),

    /** Everything came back: what stands in Redis is what was admitted, to the unit. */
    async expectExact(plain: Ledger<string>) {
      for (const ledger of processes) await ledger.close()
      for (const partition of partitions) {
        const holds = quotas.map((_, index) => holdIn(index, 0, partition))
        expect(await plain.balances(holds, nowMs)).toMatchObject(
          holds.map(({ partitionKey, quota }) => ({
            ...model.used(partitionKey, nowMs),
            debt: model.debt(quota, partitionKey, nowMs),
          })),
        )
      }
    },
  }
}

interface Amounts {
  readonly inputTokens: number
  readonly outputTokens: number
}

export function describeHouse(name: string, place: () => SlicedPlace, count: number): void {
  test(
    `processes that decide from slices ${name} admit no more than the limits, refuse for nothing but slices of others, and leave exactly what they admitted`,
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(stepMs, command), { maxLength: 40, size: 'max' }),
          async (commands) => {
            const { store, buckets, ...rest } = place()
            await rest.flush()
            const moments = 'given' as const
            const shared = { ...store, close: () => undefined }
            const parts = { store: shared, buckets, clock: systemClock, timeoutMs: 5000, moments }
            const open = () =>
              createRedisLedger<string>({ ...parts, bucketsPerExpire: buckets.count })
            const tuning = { ...greedy, share: { one: 4, all: 2 } }
            const house = createHouse(
              Array.from({ length: PROCESSES }, () =>
                createSlicedLedger({ ...parts, ledger: open(), random: Math.random, tuning }),
              ),
            )
            for (const [byMs, action] of commands) {
              house.step(byMs)
              const known =
                'which' in action
                  ? house.open[action.which % Math.max(1, house.open.length)]
                  : undefined
              if (action.do === 'reserve') await house.reserve(action.asks)
              else if (action.do === 'twice') await house.twice(action.ask, action.by)
              else if (action.do === 'expire') await house.expire(action.by)
              else if (known === undefined) continue
              else if (action.do === 'abandon') await house.abandon(known)
              else {
                house.open.splice(house.open.indexOf(known), 1)
                await house.end(known, action.by, action.part)
              }
            }
            await house.expectExact(open())
          },
        ),
        { numRuns: runs(count) },
      )
    },
    30_000 * proofScale,
  )
}
