import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import { inTime } from '../../store/store.js'
import type { Store } from '../../store/store.js'
import { withCarrier } from '../carriers.js'
import { createDecidedHere } from './decided-here.js'
import type { Balance, Held, Hold, Ledger } from '../ledger.js'
import type { ReserveRequest, Short } from '../ledger.js'
import type { Quota } from '../quota.js'
import { askedBefore, requireMoment, requireWhole } from '../request.js'
import { createSliceTurns } from './slice-turns.js'
import type { Pending } from './slice-turn.js'
import { createSlicedEnds } from './sliced-ends.js'
import { createSlices } from './slices.js'
import { createSlicesBack } from './slices-back.js'
import type { Slice } from './slices.js'
import { createTimelines } from '../windows/windows.js'

export interface SlicedLedgerOptions<Context> {
  /** The ledger on the same store, which decides where slices cannot. */
  readonly ledger: Ledger<Context>
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly random: () => number
  readonly timeoutMs: number
  /** As of the Redis ledger. */
  readonly rememberEndedMs?: number
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
/** Beyond, every request asks the store: what is behind them waits for some 40 turns at most. */
const MAX_PENDING = 1000
/** The one under way, or one that begins at once: that is as long as the store itself takes. */
const MAX_TURNS_AHEAD = 1
/** One for the first slice, one where others used it up first. */
const MAX_TAKINGS = 3

const tooSlow = (): DependencyError => new DependencyError('ledger', 'Redis was too slow')

const usual: SliceTuning = {
  isSliced: ({ slices }) => slices === true,
  share: { one: 40, all: 10 },
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
  const { rememberEndedMs = 60_000, moments = 'redis' } = options
  const tuning = { ...usual, ...options.tuning }
  const timelines = createTimelines()
  const timelineOf = ({ quota }: Hold) => timelines(quota.window)
  const decided = createDecidedHere<Context>(rememberEndedMs, tick, putBack)
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
    clock,
    timeoutMs,
    moments,
    owner,
    share: tuning.share,
    lifeMs: LIFE_MS,
    nowMs: () => nowFrom(latestMs),
    timelineOf,
    onAdopted: (pending, adoption) => {
      ends.adopted(pending, adoption)
    },
    onTaken: (taking, slice) => {
      slices.taken(taking, slice, tick())
    },
    onSetAside: ({ request: { holds } }) => {
      // Nothing more is admitted from slices that the store cannot read.
      slices.pause(holds, tick())
      slices.giveBack(holds, tick())
    },
    onGivenUp: (pending) => {
      // Remembered as if it were: what it was admitted from is not free.
      ends.adopted(pending, 'adopted')
    },
  })

  const ends = createSlicedEnds<Context>({ ledger, decided, turns, slices, tick })

  const slicesBack = createSlicesBack({
    store,
    owner,
    clock,
    timeoutMs,
    moments,
    isSliced: ({ quota }) => tuning.isSliced(quota),
    timelineOf,
    longestMs: BACK_AFTER_MS,
  })

  /** The moment as this process knows it. */
  function nowFrom(nowEpochMs: number): number {
    if (moments === 'redis') return store.nowMs() ?? requireMoment(nowEpochMs)
    latestMs = Math.max(latestMs, requireMoment(nowEpochMs))
    return latestMs
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

  function putBack({ request, slices: drawn }: Pending<Context>): void {
    for (const [index, slice] of drawn.entries()) {
      slices.undraw(slice, (request.holds[index] as Hold).amount)
    }
  }

  function hold(
    request: ReserveRequest<Context>,
    drawn: readonly Slice[],
    nowMs: number,
  ): Held<Context> {
    const { id, holds, context, leaseMs } = request
    // The clock of Redis shows at least what it showed at the taking.
    const admittedAtEpochMs = Math.max(nowMs, ...drawn.map(({ startMs }) => startMs))
    const reservation = { id, context, holds, admittedAtEpochMs }
    const pending = {
      request,
      reservation,
      slices: drawn,
      carriers: [id],
      sent: false,
      givenUp: new Set<string>(),
    }
    decided.add(pending)
    turns.adopt(pending)
    arm()
    let refilled = false
    for (const each of holds) {
      const taking = slices.refill(each, leaseMs, tick())
      if (taking === undefined) continue
      turns.take(taking)
      refilled = true
    }
    if (refilled) turns.flush().catch(() => undefined)
    return heldOf(pending, { repeated: false, carrier: id }, nowMs)
  }

  function heldOf(
    pending: Pending<Context>,
    answer: Pick<Held<Context>, 'repeated' | 'carrier'>,
    nowMs: number,
  ): Held<Context> {
    const { reservation, slices: drawn } = pending
    const balances = reservation.holds.map((each, index) =>
      slices.balance(each, drawn[index] as Slice, nowMs),
    )
    return { kind: 'held', reservation, ...answer, balances, shadowShort: [] }
  }

  function areSliced(holds: readonly Hold[]): boolean {
    return holds.length > 0 && holds.every(({ quota }) => tuning.isSliced(quota))
  }

  /**
   * The store has to be told before the request goes on.
   *
   * @param dueMs when a request that is not decided has waited long enough: no further call is begun
   */
  async function tell(dueMs: number, what: 'all' | 'slices'): Promise<void> {
    // What it asks for comes, though the request no longer waits.
    await inTime(clock, turns.flush(what), dueMs)
    if (clock.monotonicMs() >= dueMs) throw tooSlow()
  }

  /** Undefined where the store has to decide. */
  async function decideHere(
    request: ReserveRequest<Context>,
    nowEpochMs: number,
    dueMs: number,
  ): Promise<Held<Context> | undefined> {
    const { id, idempotencyKey, holds, leaseMs } = request
    if (!areSliced(holds)) return undefined
    for (let takings = 0; ; takings += 1) {
      const now = nowFrom(nowEpochMs)
      const earlier = decided.pendingByKey(idempotencyKey)
      if (earlier?.sent === false) {
        earlier.carriers = withCarrier(earlier.carriers, id)
        return heldOf(earlier, { repeated: true, carrier: id }, now)
      }
      // The store has to learn that it was repeated.
      if (earlier !== undefined) await tell(dueMs, 'all')
      if (decided.knows(idempotencyKey) || decided.pendings() >= MAX_PENDING) return undefined
      if (decided.get(id) !== undefined) throw new RangeError('the reservation id is in use')
      const drawn = slices.draw(holds, tick())
      if (drawn !== undefined) return hold(request, drawn, now)
      if (takings === MAX_TAKINGS) return undefined
      const wished = slices.wish(holds, leaseMs, tick())
      if (wished === undefined) return undefined
      for (const taking of wished) turns.take(taking)
      if (!(await isTaken(dueMs))) return undefined
    }
  }

  /** Waits for the slices, where that is no longer than asking the store. They are for later requests where not. */
  async function isTaken(dueMs: number): Promise<boolean> {
    if (comeLate(dueMs) || turns.slicesIn().turns > MAX_TURNS_AHEAD) return false
    try {
      await tell(dueMs, 'slices')
      return true
    } catch (error) {
      if (clock.monotonicMs() >= dueMs) throw error
      return false
    }
  }

  /** The turns that would be waited for come too late. They come all the same. */
  function comeLate(dueMs: number): boolean {
    arm()
    return clock.monotonicMs() + turns.slicesIn().ms >= dueMs
  }

  async function reserveInStore(
    request: ReserveRequest<Context> & { readonly dueMonotonicMs: number },
    nowEpochMs: number,
  ): Promise<Held<Context> | Short> {
    const before = turns.returned()
    const answer = await askStore(request, nowEpochMs)
    if (answer.kind === 'held') return asHeld(request, answer)
    const short = request.holds.filter(
      ({ amount }, index) =>
        (answer.balances[index]?.remaining ?? 0) < amount + askedBefore(request.holds, index),
    )
    // It stays refused where the store does not hear in time of what this process has.
    if (!(await isGivenBack(short, request.dueMonotonicMs, before))) return answer
    const again = await askStore(request, nowEpochMs)
    return again.kind === 'held' ? asHeld(request, again) : again
  }

  /** What the store answers tells where the partitions stand. */
  async function told<Answer>(holds: readonly Hold[], ask: () => Promise<Answer>): Promise<Answer> {
    const backs = turns.isReturning() ? 0 : slices.backs()
    const answer = await ask()
    slices.told(holds, backs)
    return answer
  }

  function askStore(
    request: ReserveRequest<Context>,
    nowEpochMs: number,
  ): Promise<Held<Context> | Short> {
    return told(request.holds, () => ledger.reserve(request, nowEpochMs))
  }

  /**
   * False: there was nothing to give back, or it cannot be told in time.
   *
   * @param before as many turns as had brought something back when the store was asked: what came back since may have
   *   come after it decided
   */
  async function isGivenBack(
    short: readonly Hold[],
    dueMs: number,
    before: number,
  ): Promise<boolean> {
    try {
      // Near its limit a partition is the store's alone.
      if (slices.pause(short, tick())) await tell(dueMs, 'slices')
      if (!slices.giveBack(short, tick()) && !turns.isReturning()) {
        return turns.returned() > before && clock.monotonicMs() < dueMs
      }
      if (comeLate(dueMs)) return false
      await tell(dueMs, 'slices')
      return true
    } catch (error) {
      if (error instanceof DependencyError) return false
      throw error
    }
  }

  function asHeld(request: ReserveRequest<Context>, held: Held<Context>): Held<Context> {
    const { idempotencyKey, leaseMs, holds } = request
    if (held.repeated) return { ...held, reservation: decided.asMadeHere(held.reservation) }
    if (areSliced(holds)) decided.addOther(held.reservation, idempotencyKey, leaseMs)
    return held
  }

  return {
    async exhausted({ holds, idempotencyKey }, nowEpochMs) {
      if (decided.knows(idempotencyKey)) return undefined
      const now = nowFrom(nowEpochMs)
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
          : slices.balance(each, slice, now)
      })
      const asked = { nowMs: now, dueMs: clock.monotonicMs() + timeoutMs, exhausted: true }
      return { ...(await slicesBack.shorten(short, others, asked)), balances }
    },

    async reserve(request, nowEpochMs) {
      requireWhole('leaseMs', request.leaseMs)
      for (const { amount } of request.holds) requireWhole('amount', amount)
      const { dueMonotonicMs = clock.monotonicMs() + timeoutMs } = request
      const held = await decideHere(request, nowEpochMs, dueMonotonicMs)
      // One for all that the store is asked.
      const answer = held ?? (await reserveInStore({ ...request, dueMonotonicMs }, nowEpochMs))
      if (answer.kind === 'held') return answer
      const asked = { nowMs: nowFrom(nowEpochMs), dueMs: dueMonotonicMs, exhausted: false }
      return slicesBack.shorten(answer, request.holds, asked)
    },

    async find(id, nowEpochMs) {
      nowFrom(nowEpochMs)
      return decided.find(id) ?? ledger.find(id, nowEpochMs)
    },

    async end(id, end, nowEpochMs) {
      nowFrom(nowEpochMs)
      return ends.end(id, end, nowEpochMs)
    },

    async abandon(id, nowEpochMs, carrier) {
      nowFrom(nowEpochMs)
      return ends.abandon(id, nowEpochMs, carrier)
    },

    async expire(nowEpochMs) {
      const now = nowFrom(nowEpochMs)
      slices.tidy(tick(), 'over')
      return ends.expire(nowEpochMs, now)
    },

    async balances(holds, nowEpochMs) {
      nowFrom(nowEpochMs)
      // What nobody was admitted to is free: it is seen where it is when it is back.
      if (slices.giveBack(holds, tick()) || turns.isReturning()) await turns.flush()
      return told(holds, () => ledger.balances(holds, nowEpochMs))
    },

    size() {
      const { partitions, reservations } = ledger.size()
      const mine = decided.size()
      return {
        partitions: partitions + mine.partitions,
        reservations: reservations + mine.reservations,
      }
    },

    async close() {
      clearTimeout(timer)
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
