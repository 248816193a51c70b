import type { Clock } from '../../clock.js'
import { DependencyError, PartError, UndecidedError } from '../../errors.js'
import { inTime } from '../../store/store.js'
import { withCarrier } from '../carriers.js'
import type { Buckets } from '../redis/buckets.js'
import type { DecidedHere } from './decided-here.js'
import type { Balance, Held, Hold, Ledger, ReserveRequest, Short } from '../ledger.js'
import type { Quota } from '../quota.js'
import { askedBefore } from '../request.js'
import type { SliceTurns } from './slice-turns.js'
import type { Pending, PendingPart } from './slice-turn.js'
import type { Slice, Slices } from './slices.js'

/** How requests are decided: here where slices have room, by the store where not, and nothing is refused but by it. */
export interface SlicedReserve<Context> {
  reserve(
    request: ReserveRequest<Context> & { readonly dueMonotonicMs: number },
    nowEpochMs: number,
  ): Promise<Held<Context> | Short>
  /** What the store answers tells where the partitions stand. */
  told<Answer>(
    holds: readonly Hold[],
    ask: () => Promise<Answer>,
    balancesIn: (answer: Answer) => readonly Balance[],
  ): Promise<Answer>
}

export interface SlicedReserveOptions<Context> {
  readonly ledger: Ledger<Context>
  readonly decided: DecidedHere<Context>
  readonly turns: SliceTurns<Context>
  readonly slices: Slices
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly buckets: Buckets
  readonly isSliced: (quota: Quota) => boolean
  /** The moment at the node that has the bucket, as this process knows it. */
  readonly nowFrom: (nowEpochMs: number, bucket: number) => number
  /** For how long that node has answered nobody, while it owes an answer. */
  readonly silentMs: (bucket: number) => number
  readonly tick: () => number
  /** What has to be told to the store is told soon. */
  readonly arm: () => void
}

/** Beyond, every request asks the store: what is behind those of a bucket waits for some 40 turns at most. */
const MAX_PENDING = 4000
const MAX_PENDING_IN_BUCKET = 1000
/** The one under way, or one that begins at once: that is as long as the store itself takes. */
const MAX_TURNS_AHEAD = 1
/**
 * Of the time of a request over several buckets, less that for which a node of them is silent already: the rest is for
 * the store, which can do without a node that hangs.
 */
const WAITED = 0.5
/** One for the first slice, one where others used it up first. */
const MAX_TAKINGS = 3

const tooSlow = (): DependencyError => new DependencyError('ledger', 'Redis was too slow')

export function createSlicedReserve<Context>(
  options: SlicedReserveOptions<Context>,
): SlicedReserve<Context> {
  const { ledger, decided, turns, slices, clock, buckets, isSliced } = options
  const { nowFrom, silentMs, tick, arm } = options

  function hold(
    request: ReserveRequest<Context>,
    home: number,
    drawn: readonly Slice[],
    nowEpochMs: number,
  ): Held<Context> {
    const { id, holds, context, leaseMs } = request
    const parts = buckets.partsOf(holds, home).map(({ bucket, indices }) => {
      // The clock of Redis shows at least what it showed at the taking.
      const takenMs = indices.map((index) => (drawn[index] as Slice).startMs)
      return { bucket, indices, admittedMs: Math.max(nowFrom(nowEpochMs, bucket), ...takenMs) }
    }) as [PendingPart, ...PendingPart[]]
    const pending: Pending<Context> = {
      request,
      reservation: { id, context, holds, admittedAtEpochMs: parts[0].admittedMs },
      slices: drawn,
      parts,
      carriers: [id],
      sent: false,
      givenUp: new Set<string>(),
    }
    decided.add(pending)
    turns.adopt(pending)
    arm()
    const refilled = new Set<number>()
    for (const each of holds) {
      const taking = slices.refill(each, leaseMs, tick())
      if (taking === undefined) continue
      turns.take(taking)
      refilled.add(buckets.ofPartition(each.partitionKey))
    }
    if (refilled.size > 0) turns.flush('all', refilled).catch(() => undefined)
    return heldOf(pending, { repeated: false, carrier: id }, nowEpochMs)
  }

  function heldOf(
    { reservation, slices: drawn }: Pending<Context>,
    answer: Pick<Held<Context>, 'repeated' | 'carrier'>,
    nowEpochMs: number,
  ): Held<Context> {
    const balances = reservation.holds.map((each, index) => {
      const nowMs = nowFrom(nowEpochMs, buckets.ofPartition(each.partitionKey))
      return slices.balance(each, drawn[index] as Slice, nowMs)
    })
    return { kind: 'held', reservation, ...answer, balances, shadowShort: [] }
  }

  function areSliced(holds: readonly Hold[]): boolean {
    return holds.length > 0 && holds.every(({ quota }) => isSliced(quota))
  }

  /**
   * The store has to be told before the request goes on.
   *
   * @param dueMs when a request that is not decided has waited long enough: no further call is begun
   */
  async function tell(
    which: ReadonlySet<number>,
    dueMs: number,
    what: 'all' | 'slices',
  ): Promise<void> {
    // What it asks for comes, though the request no longer waits.
    await inTime(clock, turns.flush(what, which), dueMs)
    if (clock.monotonicMs() >= dueMs) throw tooSlow()
  }

  /** Undefined where the store has to decide. */
  async function decideHere(
    given: ReserveRequest<Context>,
    nowEpochMs: number,
    dueMs: number,
  ): Promise<Held<Context> | undefined> {
    const { idempotencyKey, holds, leaseMs } = given
    if (!areSliced(holds)) return undefined
    const which = buckets.ofHolds(holds)
    const home = buckets.homeOf(given)
    const id = buckets.nameId(given.id, home)
    for (let takings = 0; ; takings += 1) {
      const earlier = decided.pendingByKey(idempotencyKey)
      if (earlier?.sent === false) {
        earlier.carriers = withCarrier(earlier.carriers, id)
        return heldOf(earlier, { repeated: true, carrier: id }, nowEpochMs)
      }
      // The store has to learn that it was repeated.
      if (earlier !== undefined) await tell(which, dueMs, 'all')
      if (decided.knows(idempotencyKey) || isFull(which)) return undefined
      if (decided.get(id) !== undefined) throw new RangeError('the reservation id is in use')
      const drawn = slices.draw(holds, tick())
      if (drawn !== undefined) return hold({ ...given, id }, home, drawn, nowEpochMs)
      if (takings === MAX_TAKINGS) return undefined
      const wished = slices.wish(holds, leaseMs, tick())
      if (wished === undefined) return undefined
      for (const taking of wished) turns.take(taking)
      if (!(await isTaken(which, dueMs))) return undefined
    }
  }

  /** One whose node hangs leaves room for the others. */
  function isFull(which: ReadonlySet<number>): boolean {
    const { all, most } = decided.pendings(which)
    return all >= MAX_PENDING || most >= MAX_PENDING_IN_BUCKET
  }

  /** Waits for the slices, where that is no longer than asking the store. They are for later requests where not. */
  async function isTaken(which: ReadonlySet<number>, dueMs: number): Promise<boolean> {
    const nowMs = clock.monotonicMs()
    const longestMs = (dueMs - nowMs) * WAITED - Math.max(...[...which].map(silentMs))
    const untilMs = which.size === 1 ? dueMs : nowMs + longestMs
    if (comeLate(which, untilMs) || turns.slicesIn(which).turns > MAX_TURNS_AHEAD) return false
    try {
      await tell(which, untilMs, 'slices')
      return true
    } catch (error) {
      if (clock.monotonicMs() >= dueMs) throw error
      return false
    }
  }

  /** The turns that would be waited for come too late. They come all the same. */
  function comeLate(which: ReadonlySet<number>, dueMs: number): boolean {
    arm()
    return clock.monotonicMs() + turns.slicesIn(which).ms >= dueMs
  }

  async function reserveInStore(
    request: ReserveRequest<Context> & { readonly dueMonotonicMs: number },
    nowEpochMs: number,
  ): Promise<Held<Context> | Short> {
    const { holds, dueMonotonicMs } = request
    const returned = new Map<number, number>()
    for (const bucket of buckets.ofHolds(holds)) returned.set(bucket, turns.returned(bucket))
    const answer = await askStore(request, nowEpochMs)
    if (answer.kind === 'held') return asHeld(request, answer)
    const short = holds.filter((hold, index) => {
      const balance = answer.balances.find(({ partitionKey }) => partitionKey === hold.partitionKey)
      // Where its node did not answer nobody knows; the answer is for what another has no room for.
      return balance !== undefined && balance.remaining < hold.amount + askedBefore(holds, index)
    })
    // It stays refused where the store does not hear in time of what this process has.
    if (!(await isGivenBack(short, dueMonotonicMs, returned))) return answer
    try {
      const again = await askStore(request, nowEpochMs)
      return again.kind === 'held' ? asHeld(request, again) : again
    } catch (error) {
      const areHeldNow =
        error instanceof PartError &&
        !holds.some((each, place) => error.places.includes(place) && short.includes(each))
      // What was refused is not decided anew by who could not be asked again.
      const isUnasked = error instanceof DependencyError && !(error instanceof UndecidedError)
      if (isUnasked && !areHeldNow) return answer
      throw error
    }
  }

  async function told<Answer>(
    holds: readonly Hold[],
    ask: () => Promise<Answer>,
    balancesIn: (answer: Answer) => readonly Balance[],
  ): Promise<Answer> {
    const backs = slices.backs()
    const known = new Set(
      holds
        .map(({ partitionKey }) => partitionKey)
        .filter((key) => !turns.isReturning(buckets.ofPartition(key))),
    )
    const answer = await ask()
    slices.told(
      balancesIn(answer).filter(({ partitionKey }) => known.has(partitionKey)),
      backs,
    )
    return answer
  }

  function askStore(
    request: ReserveRequest<Context>,
    nowEpochMs: number,
  ): Promise<Held<Context> | Short> {
    const ask = () => ledger.reserve(request, nowEpochMs)
    return told(request.holds, ask, ({ balances }) => balances)
  }

  /**
   * False: there was nothing to give back, or it cannot be told in time.
   *
   * @param returned as many turns of each bucket as had brought something back when the store was asked: what came back
   *   since may have come after it decided
   */
  async function isGivenBack(
    short: readonly Hold[],
    dueMs: number,
    returned: ReadonlyMap<number, number>,
  ): Promise<boolean> {
    const which = buckets.ofHolds(short)
    const isSome = (is: (bucket: number) => boolean): boolean => [...which].some(is)
    try {
      // Near its limit a partition is the store's alone.
      if (slices.pause(short, tick())) await tell(which, dueMs, 'slices')
      if (!slices.giveBack(short, tick()) && !isSome((bucket) => turns.isReturning(bucket))) {
        const isBack = isSome((bucket) => turns.returned(bucket) > (returned.get(bucket) ?? 0))
        return isBack && clock.monotonicMs() < dueMs
      }
      // Asking again takes as long as a turn does.
      const { turns: left, ms } = turns.slicesIn(which)
      if (comeLate(which, dueMs - ms / Math.max(1, left))) return false
      await tell(which, dueMs, 'slices')
      return true
    } catch (error) {
      if (error instanceof DependencyError) return false
      throw error
    }
  }

  function asHeld(request: ReserveRequest<Context>, held: Held<Context>): Held<Context> {
    const { idempotencyKey, leaseMs, holds } = request
    if (held.repeated) return { ...held, reservation: decided.asMadeHere(held.reservation) }
    const home = buckets.homeOf(request)
    if (areSliced(holds)) decided.addOther(held.reservation, idempotencyKey, leaseMs, home)
    return held
  }

  return {
    // One moment for all that the store is asked.
    reserve: async (request, nowEpochMs) =>
      (await decideHere(request, nowEpochMs, request.dueMonotonicMs)) ??
      reserveInStore(request, nowEpochMs),
    told,
  }
}
