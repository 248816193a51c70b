import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Clock } from '../../src/clock.js'
import type { End, Ended, Hold, Ledger, Short } from '../../src/quota/ledger.js'
import type { Quota } from '../../src/quota/quota.js'
import { amountAtEnd, amountToReserve } from '../../src/quota/units.js'
import { costMicros } from '../../src/prices.js'
import type { Prices } from '../../src/prices.js'
import { createExactModel } from './exact-model.js'
import type { ModelHold } from './exact-model.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { manyRuns, proofScale } from '../runs.js'

/** Two days before summer time begins in Berlin: sequences that go far cross a day of 23 hours. */
const startMs = Date.parse('2026-03-27T22:59:58.500Z')
/** What the ledger has to be made with. */
export const rememberEndedMs = 3000

/** Summer time takes an hour from 29 March; the next 150 days have 24 hours each. */
const berlinMidnights = [
  ...['2026-03-26T23:00Z', '2026-03-27T23:00Z', '2026-03-28T23:00Z'].map((text) =>
    Date.parse(text),
  ),
  ...Array.from({ length: 150 }, (_, day) => Date.parse('2026-03-29T22:00Z') + day * 86_400_000),
]

/** The first is a Monday. */
const berlinMondays = berlinMidnights.slice(3).filter((_, day) => day % 7 === 0)

function countBoundaries({ window }: Quota, fromMs: number, toMs: number): number {
  if (window.kind === 'calendar' && window.period !== 'hour') {
    const starts = window.period === 'week' ? berlinMondays : berlinMidnights
    return starts.filter((ms) => fromMs < ms && ms <= toMs).length
  }
  const lengthMs = window.kind === 'fixed' ? window.lengthMs : 3_600_000
  return Math.floor(toMs / lengthMs) - Math.floor(fromMs / lengthMs)
}

/** The quotas of one policy generation; generations differ in the limits alone. */
function generation(limit: number): readonly Quota[] {
  return [
    quotaOf({ name: 'second', limit, window: { kind: 'sliding', lengthMs: 977 } }),
    quotaOf({ name: 'minute', limit: 3 * limit, window: { kind: 'sliding', lengthMs: 60_000 } }),
    quotaOf({ name: 'hour', limit: 4 * limit, window: calendar('hour') }),
    quotaOf({ name: 'day', limit: 6 * limit, window: calendar('day', 'Europe/Berlin') }),
    quotaOf({ name: 'week', limit: 8 * limit, window: calendar('week', 'Europe/Berlin') }),
    quotaOf({ name: 'fixed', limit: 2 * limit, window: { kind: 'fixed', lengthMs: 60_000 } }),
    quotaOf({ name: 'requests', unit: 'requests', limit: Math.ceil(limit / 20) }),
    quotaOf({ name: 'parallel', unit: 'in_flight', limit: 3, window: { kind: 'open' } }),
    quotaOf({ name: 'shadow', limit: 2 * limit, shadow: true }),
    quotaOf({ name: 'cost', unit: 'cost', limit: 20 * limit, window: calendar('hour') }),
    quotaOf({ name: 'input', unit: 'input_tokens', limit: 2 * limit }),
    quotaOf({ name: 'output', unit: 'output_tokens', limit: 2 * limit }),
  ]
}
const prices: Prices = {
  inputPicos: 1_000_001,
  cachedInputPicos: 400_000,
  cacheWritePicos: 1_000_001,
  outputPicos: 15_000_000,
}
const generations = [generation(100), generation(37), generation(260)]

const stepMs = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 300 }) },
  { weight: 2, arbitrary: fc.integer({ min: -2000, max: 5000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 100_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 40_000_000 }) },
)
const tokens = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(0, 1, 100, 1000))
const which = fc.nat({ max: 40 })
const end = fc.record({
  do: fc.constant('end' as const),
  which,
  kind: fc.constantFrom('settled' as const, 'estimated' as const, 'released' as const),
  inputTokens: tokens,
  outputTokens: tokens,
})
type EndAction = typeof end extends fc.Arbitrary<infer Action> ? Action : never

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('reserve' as const),
      generation: fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, fc.nat({ max: 2 })),
      quotas: fc.subarray([...generation(1).keys()], { minLength: 1 }),
      partition: fc.constantFrom('a', 'a', 'a', 'b'),
      inputTokens: tokens,
      outputTokens: tokens,
      leaseMs: fc.integer({ min: 1, max: 9000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('repeat' as const), which }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('abandon' as const),
      which,
      answer: fc.nat({ max: 3 }),
    }),
  },
  {
    weight: 5,
    arbitrary: end,
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('expire' as const) }) },
)

type Command = typeof command extends fc.Arbitrary<infer Told> ? Told : never

function withSomething(action: Command): Command {
  if (action.do !== 'reserve') return action
  const { inputTokens, outputTokens } = action
  return {
    ...action,
    inputTokens: Math.max(1, inputTokens),
    outputTokens: Math.max(1, outputTokens),
  }
}

/** What a request would take that is only looked at. */
const looked = fc.record({ inputTokens: tokens, outputTokens: tokens })

/** Of half the ends nobody knows what they cost. */
function withCost(action: EndAction): End {
  if (action.kind === 'released' || action.which % 2 === 0) return action
  const used = { cachedTokens: action.which, cacheWriteTokens: 0 }
  return { ...action, costMicros: costMicros(prices, { ...action, ...used }) }
}

const nothing = { generation: 0, inputTokens: 0, outputTokens: 0, leaseMs: 1 }
const reserveNothing = (quotas: number[], partition: string) =>
  ({ ...nothing, do: 'reserve', quotas, partition }) as const
const settleUnknown = { do: 'end', which: 15, kind: 'settled', inputTokens: 1, outputTokens: 0 }
/** Of nothing that was held in a partition which is another's by the time that it is forgotten. */
const foundOnce = [
  [0, reserveNothing([11], 'a')],
  [0, reserveNothing([10, 11], 'b')],
  [0, reserveNothing([11], 'a')],
  [1, { ...reserveNothing([10], 'b'), inputTokens: 1 }],
  [0, { do: 'expire' }],
  [0, settleUnknown],
  [81_565, reserveNothing([11], 'a')],
  [38_322, { do: 'repeat', which: 0 }],
  [4612, { do: 'expire' }],
  [0, { do: 'expire' }],
] as [number, Command][]
const lookedOnce = { inputTokens: 1, outputTokens: 1 }

interface Known {
  readonly id: string
  readonly holds: readonly Hold[]
  readonly modelHolds: readonly ModelHold[]
  readonly shadowShort: readonly Quota[]
  readonly leaseMs: number
  /** The calls that were answered with it, and those of them whose answer is not known to be lost. */
  readonly answers: string[]
  readonly carriers: Set<string>
  phase: 'open' | 'unsettled' | 'ended' | 'forgotten'
  phaseOverMs: number
}

/**
 * Holds whose partitions follow the limits of a repeated call as they follow those of a first one. They may: a repeated
 * call is one of the latest policy, and the next call says the same.
 */
export type FollowsWhenRepeated = (holds: readonly Hold[]) => readonly Hold[]

/** What the clocks show in a sequence. They stand still during each command. */
export interface SequenceTime extends Pick<Clock, 'monotonicMs'> {
  step(byMs: number): void
  /** What the ledger is told. */
  readonly clockMs: () => number
  /** The moment that counts. */
  readonly nowMs: () => number
  /** What leases go by. */
  readonly tickMs: () => number
}

/** The moments of the calls count, and leases go by them. The other clock is that of the machine. */
function createGivenMoments(): SequenceTime {
  let [clockMs, nowMs, machineMs] = [startMs, 0, systemClock.monotonicMs()]
  return {
    step(byMs) {
      clockMs = Math.max(0, clockMs + byMs)
      nowMs = Math.max(nowMs, clockMs)
      machineMs = systemClock.monotonicMs()
    },
    clockMs: () => clockMs,
    nowMs: () => nowMs,
    tickMs: () => nowMs,
    monotonicMs: () => machineMs,
  }
}

/**
 * Steps back set the clock back by a thousand times as much, at once; leases go by the one that cannot be set. That which
 * counts is the latest of all that have gone on since they were shown, a hundredth slower.
 */
export function createSetBackTime(): SequenceTime {
  let [clockMs, tickMs] = [startMs, 0]
  const shown: { clockMs: number; tickMs: number }[] = []
  return {
    step(byMs) {
      clockMs = Math.max(0, clockMs + (byMs < 0 ? 1000 * byMs : byMs))
      tickMs += Math.max(0, byMs)
      shown.push({ clockMs, tickMs })
    },
    clockMs: () => clockMs,
    nowMs: () =>
      Math.max(...shown.map((then) => then.clockMs + Math.floor((tickMs - then.tickMs) * 0.99))),
    tickMs: () => tickMs,
    monotonicMs: () => tickMs,
  }
}

/** One ledger and one model that are told the same. */
function createPair(
  ledger: Ledger<string>,
  followsWhenRepeated: FollowsWhenRepeated,
  time: SequenceTime,
) {
  const model = createExactModel(countBoundaries)
  const known: Known[] = []
  let [clockMs, nowMs, tickMs] = [0, 0, 0]

  const modelBalance = (hold: Hold) => {
    const { spent, reserved } = model.used(hold.partitionKey, nowMs)
    const debt = model.debt(hold.quota, hold.partitionKey, nowMs)
    const remaining = Math.max(0, hold.quota.limit - spent - reserved - debt)
    return { quota: hold.quota, partitionKey: hold.partitionKey, spent, reserved, debt, remaining }
  }

  const expectWait = (hold: Hold, waitMs: number): void => {
    expect(model.room(hold, nowMs, waitMs), 'fits after the wait').toBeGreaterThanOrEqual(
      hold.amount,
    )
    if (waitMs === 1) return
    expect(model.room(hold, nowMs, waitMs - 1), 'not before').toBeLessThan(hold.amount)
  }

  /** The longest wait of all that are short is told, and it is exact. */
  const expectShort = (short: Short, shortHolds: readonly Hold[]): void => {
    const named = shortHolds.find(({ quota }) => quota === short.quota)
    if (named === undefined) throw new Error(`${short.quota.name} is not short`)
    const never = shortHolds.filter(({ amount, quota }) => amount > quota.limit)
    expect(short.retryAfterMs === undefined).toBe(never.length > 0)
    if (short.retryAfterMs === undefined) {
      expect(never).toContain(named)
      return
    }
    const { retryAfterMs } = short
    if (named.quota.window.kind === 'open') expect(retryAfterMs).toBe(1000)
    else expectWait(named, retryAfterMs)
    for (const other of shortHolds) {
      if (other.quota.window.kind === 'open') expect(retryAfterMs).toBeGreaterThanOrEqual(1000)
      else expect(model.room(other, nowMs, retryAfterMs)).toBeGreaterThanOrEqual(other.amount)
    }
  }

  /** The ledger ended it as the model does now, or said nothing since it had ended before. */
  const expectEnded = (reservation: Known, end: End, answer: Ended<string> | undefined): void => {
    const { phase, holds, modelHolds } = reservation
    if (phase === 'ended' || phase === 'forgotten') {
      expect(answer).toBeUndefined()
      return
    }
    const charges = modelHolds.map((hold) => {
      const actual = amountAtEnd(hold.quota.unit, end) ?? hold.amount
      const owes = hold.quota.window.kind === 'open' ? 0 : Math.max(0, actual - hold.amount)
      hold.open = false
      hold.counts = Math.min(hold.amount, actual)
      if (owes > 0) model.record(hold.partitionKey, { atMs: nowMs, kind: 'owed', amount: owes })
      return { actual, debt: owes }
    })
    expect(answer).toMatchObject({ outcome: end.kind, late: phase === 'unsettled', charges })
    expect(answer?.reservation.holds).toBe(holds)
    // The key of a released one is free at once: a repeated call must be charged.
    reservation.phase = end.kind === 'released' ? 'forgotten' : 'ended'
    reservation.phaseOverMs = tickMs + rememberEndedMs
  }

  return {
    ledger,
    known,

    step(byMs: number): void {
      time.step(byMs)
      ;[clockMs, nowMs, tickMs] = [time.clockMs(), time.nowMs(), time.tickMs()]
    },

    async reserve(holds: readonly Hold[], leaseMs: number): Promise<void> {
      const id = `r${String(known.length)}`
      for (const { partitionKey, quota } of holds) {
        model.record(partitionKey, { atMs: nowMs, kind: 'limit', limit: quota.limit })
      }
      const tooMuch = holds.filter((hold) => hold.amount > model.room(hold, nowMs))
      const short = tooMuch.filter(({ quota }) => !quota.shadow)
      const answer = await ledger.reserve(
        { id, idempotencyKey: id, holds, context: `context of ${id}`, leaseMs },
        clockMs,
      )
      if (short.length > 0) {
        if (answer.kind !== 'short') throw new Error('the model has no room')
        expectShort(answer, short)
      } else {
        if (answer.kind !== 'held') throw new Error(`the model has room in ${answer.quota.name}`)
        const shadowShort = tooMuch.map(({ quota }) => quota)
        expect(answer.repeated).toBe(false)
        expect(answer.shadowShort).toEqual(shadowShort)
        expect(answer.reservation.admittedAtEpochMs).toBe(nowMs)
        const modelHolds = model.admit(holds, nowMs)
        const phaseOverMs = tickMs + leaseMs
        const carried = { answers: [id], carriers: new Set([id]) }
        const phase = { phase: 'open', phaseOverMs } as const
        known.push({ id, holds, modelHolds, shadowShort, leaseMs, ...carried, ...phase })
      }
      expect(answer.balances).toMatchObject(holds.map(modelBalance))
    },

    async repeat(reservation: Known): Promise<void> {
      if (reservation.phase === 'forgotten') return
      const { id, leaseMs, holds, shadowShort } = reservation
      for (const { partitionKey, quota } of followsWhenRepeated(holds)) {
        model.record(partitionKey, { atMs: nowMs, kind: 'limit', limit: quota.limit })
      }
      const again = `${id} again ${String(reservation.answers.length)}`
      const answer = await ledger.reserve(
        { id: again, idempotencyKey: id, holds, context: '', leaseMs },
        clockMs,
      )
      reservation.answers.push(again)
      reservation.carriers.add(again)
      expect(answer).toMatchObject({
        kind: 'held',
        repeated: true,
        carrier: again,
        reservation: { id, context: `context of ${id}` },
        balances: holds.map(modelBalance),
        shadowShort,
      })
    },

    async endUnknown(): Promise<void> {
      expect(await ledger.end('unknown', { kind: 'released' }, clockMs)).toBeUndefined()
    },

    async end(reservation: Known, end: End): Promise<void> {
      expectEnded(reservation, end, await ledger.end(reservation.id, end, clockMs))
    },

    /** The last of its answers that is lost releases it; one may be said to be lost twice. */
    async abandon(reservation: Known, answer: number): Promise<void> {
      const { id, answers, carriers } = reservation
      const carrier = answers[answer % answers.length] ?? id
      const ended = await ledger.abandon(id, clockMs, carrier)
      carriers.delete(carrier)
      if (carriers.size > 0) expect(ended).toBeUndefined()
      else expectEnded(reservation, { kind: 'released' }, ended)
    },

    async expire(): Promise<void> {
      const unsettled: string[] = []
      for (const reservation of known) {
        if (reservation.phaseOverMs > tickMs || reservation.phase === 'forgotten') continue
        if (reservation.phase === 'open') {
          unsettled.push(reservation.id)
          reservation.phase = 'unsettled'
          reservation.phaseOverMs = tickMs + reservation.leaseMs
          for (const hold of reservation.modelHolds) hold.open = false
        } else {
          reservation.phase = 'forgotten'
        }
      }
      const answer = await ledger.expire(clockMs)
      expect(answer.map(({ reservation }) => reservation.id).sort()).toEqual(unsettled.sort())
      expect(answer.every(({ outcome, late }) => outcome === 'unsettled' && !late)).toBe(true)
    },

    async compare(holds: readonly Hold[]): Promise<void> {
      const balances = await ledger.balances(holds, clockMs)
      expect(balances).toMatchObject(holds.map(modelBalance))
      for (const [index, hold] of holds.entries()) {
        const resetMs = balances[index]?.resetMs ?? -1
        const { spent, reserved, debt } = modelBalance(hold)
        if (spent + reserved + debt === 0) expect(resetMs).toBe(0)
        else if (hold.quota.window.kind === 'open') expect(resetMs).toBe(1000)
        else expectWait({ ...hold, amount: hold.quota.limit }, resetMs)
      }
      const short = holds.filter(
        (hold) => !hold.quota.shadow && hold.amount > model.room(hold, nowMs),
      )
      const usedUp = short.filter((hold) => modelBalance(hold).remaining === 0)
      const answer = await ledger.exhausted({ holds, idempotencyKey: 'asked' }, clockMs)
      if (answer === undefined) expect(usedUp).toEqual([])
      else {
        expect(usedUp).not.toEqual([])
        expectShort(answer, short)
      }
    },
  }
}

/**
 * @param makeLedger with a clock that stands still during each command. A ledger believes what it was told for 100 ms, and
 *   on a busy machine more may pass from what it tells to what it is asked next: then it rightly says nothing.
 * @param count how often it is tried in `make test`
 * @param holdsNothing are there requests that hold nothing of a quota, and owe something at their end?
 * @param makeTime of each sequence
 */
export function describeAgreement(
  name: string,
  makeLedger: (clock: Pick<Clock, 'monotonicMs'>) => Ledger<string> | Promise<Ledger<string>>,
  count: number,
  followsWhenRepeated: FollowsWhenRepeated = () => [],
  holdsNothing = true,
  makeTime: () => SequenceTime = createGivenMoments,
): void {
  const told = holdsNothing ? command : command.map(withSomething)
  test(
    `${name} agrees with the exact model in every answer, whatever happens in whatever order`,
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(stepMs, told, looked), { maxLength: 60, size: 'max' }),
          async (commands) => {
            const time = makeTime()
            const pair = createPair(await makeLedger(time), followsWhenRepeated, time)
            let current = generations[0] ?? []
            for (const [byMs, action, look] of commands) {
              pair.step(byMs)
              if (action.do === 'reserve') {
                current = generations[action.generation] ?? []
                const holds = action.quotas.map((index) => {
                  const quota = current[index] ?? quotaOf()
                  const amount = amountToReserve(quota.unit, { ...action, prices })
                  return holdOf(quota, amount, action.partition)
                })
                await pair.reserve(holds, action.leaseMs)
              } else if (action.do === 'expire') {
                await pair.expire()
              } else {
                const reservation = pair.known[action.which % Math.max(1, pair.known.length)]
                if (reservation === undefined) {
                  await pair.endUnknown()
                } else if (action.do === 'repeat') await pair.repeat(reservation)
                else if (action.do === 'abandon') await pair.abandon(reservation, action.answer)
                else await pair.end(reservation, withCost(action))
              }
              for (const partition of ['a', 'b']) {
                await pair.compare(
                  current.map((quota) =>
                    holdOf(quota, amountToReserve(quota.unit, { ...look, prices }), partition),
                  ),
                )
              }
            }
          },
        ),
        { numRuns: manyRuns(count), examples: [[foundOnce.map((step) => [...step, lookedOnce])]] },
      )
      // 10,000 sequences on Redis took 17 minutes on two busy cores.
    },
    120_000 * proofScale,
  )
}
