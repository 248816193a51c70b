import type { Clock } from '../../clock.js'
import type { Store } from '../../store/store.js'
import { createDecidedHere } from './decided-here.js'
import type { Balance, Hold, Ledger } from '../ledger.js'
import { SLICED_PART } from '../quota.js'
import type { Quota } from '../quota.js'
import { rememberedIn } from '../remembered.js'
import type { Remembered } from '../remembered.js'
import { askedBefore, requireMoment, requireWhole } from '../request.js'
import { createSliceTurns } from './slice-turns.js'
import type { Pending } from './slice-turn.js'
import { createBuckets } from '../redis/buckets.js'
import type { Buckets } from '../redis/buckets.js'
import type { RedisLedger } from '../redis/redis-ledger.js'
import { storedLeases } from '../redis/stored-keys.js'
import { createSlicedEnds } from './sliced-ends.js'
import { createSlicedReserve } from './sliced-reserve.js'
import { createSlices } from './slices.js'
import type { Slice } from './slices.js'
import { createSlicesBack } from './slices-back.js'
import { createTimelines } from '../windows/windows.js'

export interface SlicedLedgerOptions<Context> {
  /** The ledger on the same store, which decides where slices cannot. */
  readonly ledger: RedisLedger<Context>
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly random: () => number
  readonly timeoutMs: number
  /** As of the Redis ledger. */
  readonly rememberEndedMs?: number
  readonly remembered?: Remembered
  readonly buckets?: Buckets
  readonly moments?: 'redis' | 'given'
  /** What tests choose otherwise. */
  readonly tuning?: Partial<SliceTuning>
}

export interface SliceTuning {
  readonly isSliced: (quota: Quota) => boolean
  /** A slice is at most this part of what is free; all slices of a partition together are at most the other. */
  readonly share: { readonly one: number; readonly all: number }
  /** A slice is for at least so many requests. */
  readonly leastRequests: number
  /** How recently a partition must have been asked for. */
  readonly warmMs: number
}

/** Longer, and more is lost with a process that dies, and a debt of another is followed later. */
const LIFE_MS = 1000
/** From when a slice is taken until it is back by itself (`lua/slices.lua`). */
const BACK_AFTER_MS = LIFE_MS + 1500
/** What was decided here is told to the store so much later. */
const ADOPT_AFTER_MS = 25
const usual: SliceTuning = {
  isSliced: ({ slices }) => slices === true,
  share: { one: 40, all: SLICED_PART },
  leastRequests: 4,
  warmMs: 1000,
}

/**
 * A ledger that decides without a call where every quota that binds is sliced and has a slice with room here; all
 * else is the ledger's behind it. What a slice admits was reserved in Redis before, in the cell of its admission, so
 * nothing is admitted beyond a limit; soon after it becomes a reservation there like any other, under the same id.
 *
 * A refusal is never a slice's: it is the store's, and of partitions of which this process holds nothing any more.
 */
export function createSlicedLedger<Context>(
  options: SlicedLedgerOptions<Context>,
): Ledger<Context> {
  const { ledger, store, clock, random, timeoutMs } = options
  const { rememberEndedMs = 60_000, buckets = createBuckets(1), moments = 'redis' } = options
  const { remembered = rememberedIn() } = options
  const tuning = { ...usual, ...options.tuning }
  const timelines = createTimelines()
  const timelineOf = ({ quota }: Hold) => timelines(quota.window)
  const decided = createDecidedHere<Context>(rememberEndedMs, tick, putBack, remembered)
  let latestMs = 0
  let timer: NodeJS.Timeout | undefined

  const owner = `${random().toString(36).slice(2)}${random().toString(36).slice(2)}`

  const slices = createSlices({
    timelineOf,
    warmMs: tuning.warmMs,
    leastRequests: tuning.leastRequests,
    onBack: (slice, amount) => {
      turns.giveBack(slice, amount)
      arm()
    },
  })
  const turns = createSliceTurns<Context>({
    store,
    buckets,
    clock,
    timeoutMs,
    moments,
    owner,
    share: tuning.share,
    lifeMs: LIFE_MS,
    nowAt: (bucket) => nowFrom(latestMs, bucket),
    timelineOf,
    onAdopted: (...adopted) => {
      ends.adopted(...adopted)
    },
    onTaken: (taking, slice) => {
      slices.taken(taking, slice, tick())
    },
    onSetAside: (holds) => {
      // Nothing more is admitted from slices that the store cannot read.
      slices.pause(holds, tick())
      slices.giveBack(holds, tick())
    },
    onGivenUp: (pending) => {
      // Remembered as if it were: what it was admitted from is not free.
      ends.adopted(pending, 'adopted', [])
    },
  })

  const ends = createSlicedEnds<Context>({ ledger, decided, turns, slices, tick })

  const reserving = createSlicedReserve<Context>({
    ledger,
    decided,
    turns,
    slices,
    clock,
    buckets,
    isSliced: tuning.isSliced,
    nowFrom,
    silentMs: (bucket) => store.silentMs(storedLeases(buckets.tagOf(bucket))),
    tick,
    arm,
  })

  const slicesBack = createSlicesBack({
    store,
    buckets,
    owner,
    clock,
    timeoutMs,
    moments,
    isSliced: ({ quota }) => tuning.isSliced(quota),
    timelineOf,
    longestMs: BACK_AFTER_MS,
    nowFrom,
  })

  /** The moment as this process knows it, at the node that has the bucket. */
  function nowFrom(nowEpochMs: number, bucket = 0): number {
    if (moments === 'redis') {
      return store.nowMs(storedLeases(buckets.tagOf(bucket))) ?? requireMoment(nowEpochMs)
    }
    latestMs = Math.max(latestMs, requireMoment(nowEpochMs))
    return latestMs
  }

  function nowAt({ partitionKey }: Hold, nowEpochMs: number): number {
    return nowFrom(nowEpochMs, buckets.ofPartition(partitionKey))
  }

  /** What slices are over by: no clock that can be set. */
  function tick(): number {
    return moments === 'given' ? latestMs : clock.monotonicMs()
  }

  function arm(): void {
    timer ??= setTimeout(() => {
      timer = undefined
      // What was not answered stays, and is asked again: every second, and with what comes.
      turns.flush().catch(() => undefined)
    }, ADOPT_AFTER_MS).unref()
  }

  function putBack(
    { request: { holds }, slices: drawn }: Pending<Context>,
    indices: readonly number[],
  ): void {
    for (const index of indices) {
      slices.undraw(drawn[index] as Slice, (holds[index] as Hold).amount)
    }
  }

  return {
    async exhausted({ holds, idempotencyKey }, nowEpochMs) {
      if (decided.knows(idempotencyKey)) return undefined
      nowFrom(nowEpochMs)
      const withRoom = holds.map((each) => slices.withRoom(each, tick()))
      const others = holds.filter((_, index) => withRoom[index] === undefined)
      const short = await ledger.exhausted({ holds: others, idempotencyKey }, nowEpochMs)
      // What the store told last may count what has come back since, and so it alone can say.
      if (short === undefined || slices.areBehind(others, tick())) return undefined
      const figures = short.balances.values()
      const balances = holds.map((each, index): Balance => {
        const slice = withRoom[index]
        return slice === undefined
          ? (figures.next().value as Balance)
          : slices.balance(each, slice, nowAt(each, nowEpochMs))
      })
      // Where there is a slice, but too little for the request, the store alone can say when it fits.
      const fits = holds.every(
        ({ quota, amount }, index) =>
          quota.shadow ||
          withRoom[index] === undefined ||
          amount + askedBefore(holds, index) <= (balances[index] as Balance).remaining,
      )
      if (!fits) return undefined
      const asked = { nowEpochMs, dueMs: clock.monotonicMs() + timeoutMs }
      const shortened = await slicesBack.shorten(short, others, asked)
      return shortened && { ...shortened, balances }
    },

    async reserve(request, nowEpochMs) {
      nowFrom(nowEpochMs)
      requireWhole('leaseMs', request.leaseMs)
      for (const { amount } of request.holds) requireWhole('amount', amount)
      const { dueMonotonicMs = clock.monotonicMs() + timeoutMs } = request
      const answer = await reserving.reserve({ ...request, dueMonotonicMs }, nowEpochMs)
      if (answer.kind === 'held') return answer
      const asked = { nowEpochMs, dueMs: dueMonotonicMs }
      const shortened = await slicesBack.shorten(answer, request.holds, asked)
      return shortened ?? { ...answer, retryAfterMs: 1 }
    },

    async find(id, nowEpochMs) {
      nowFrom(nowEpochMs)
      return decided.find(id) ?? ledger.find(id, nowEpochMs)
    },

    async end(id, end, nowEpochMs, tries) {
      nowFrom(nowEpochMs)
      return ends.end(id, end, nowEpochMs, tries)
    },

    async abandon(id, nowEpochMs, carrier) {
      nowFrom(nowEpochMs)
      return ends.abandon(id, nowEpochMs, carrier)
    },

    async expire(nowEpochMs, onFailure) {
      const now = nowFrom(nowEpochMs)
      slices.tidy(tick(), 'over')
      return ends.expire(nowEpochMs, now, onFailure)
    },

    async balances(holds, nowEpochMs) {
      nowFrom(nowEpochMs)
      // What nobody was admitted to is free: it is seen where it is when it is back.
      const which = buckets.ofHolds(holds)
      // What is given back before a slice is here leaves that one reserved.
      if (slices.areTaken(holds)) await turns.flush('slices', which)
      const isReturning = [...which].some((bucket) => turns.isReturning(bucket))
      if (slices.giveBack(holds, tick()) || isReturning) await turns.flush('all', which)
      const ask = () => ledger.balances(holds, nowEpochMs)
      return reserving.told(holds, ask, (balances) => balances)
    },

    size() {
      const { partitions, reservations, toGiveBack = 0 } = ledger.size()
      const mine = decided.size()
      return {
        partitions: partitions + mine.partitions,
        reservations: reservations + mine.reservations,
        toGiveBack: toGiveBack + ends.toGiveUp(),
      }
    },

    async close() {
      clearTimeout(timer)
      // What could not be adopted for a fault that is over by now.
      turns.retryAll()
      // Twice: slices that are being taken come in between. What cannot be told any more stays spent.
      for (let times = 0; times < 2; times += 1) {
        slices.tidy(tick(), 'all')
        await turns.flush().catch(() => undefined)
      }
      clearTimeout(timer)
      await ends.giveUpAll(nowFrom(latestMs)).catch(() => undefined)
      await ledger.close()
      decided.clear()
    },
  }
}
