import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import { inTime } from '../../store/store.js'
import { withCarrier } from '../carriers.js'
import type { DecidedHere } from './decided-here.js'
import type { Held, Hold, Ledger, ReserveRequest, Short } from '../ledger.js'
import type { Quota } from '../quota.js'
import { askedBefore } from '../request.js'
import type { SliceTurns } from './slice-turns.js'
import type { Pending } from './slice-turn.js'
import type { Slice, Slices } from './slices.js'

/** How requests are decided: here where slices have room, by the store where not, and nothing is refused but by it. */
export interface SlicedReserve<Context> {
  reserve(
    request: ReserveRequest<Context> & { readonly dueMonotonicMs: number },
    nowEpochMs: number,
  ): Promise<Held<Context> | Short>
  /** What the store answers tells where the partitions stand. */
  told<Answer>(holds: readonly Hold[], ask: () => Promise<Answer>): Promise<Answer>
}

export interface SlicedReserveOptions<Context> {
  readonly ledger: Ledger<Context>
  readonly decided: DecidedHere<Context>
  readonly turns: SliceTurns<Context>
  readonly slices: Slices
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly isSliced: (quota: Quota) => boolean
  /** The moment as this process knows it. */
  readonly nowFrom: (nowEpochMs: number) => number
  readonly tick: () => number
  /** What has to be told to the store is told soon. */
  readonly arm: () => void
}

/** Beyond, every request asks the store: what is behind them waits for some 40 turns at most. */
const MAX_PENDING = 1000
/** The one under way, or one that begins at once: that is as long as the store itself takes. */
const MAX_TURNS_AHEAD = 1
/** One for the first slice, one where others used it up first. */
const MAX_TAKINGS = 3

const tooSlow = (): DependencyError => new DependencyError('ledger', 'Redis was too slow')

export function createSlicedReserve<Context>(
  options: SlicedReserveOptions<Context>,
): SlicedReserve<Context> {
  const { ledger, decided, turns, slices, clock, isSliced, nowFrom, tick, arm } = options

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
    return holds.length > 0 && holds.every(({ quota }) => isSliced(quota))
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
    // One moment for all that the store is asked.
    reserve: async (request, nowEpochMs) =>
      (await decideHere(request, nowEpochMs, request.dueMonotonicMs)) ??
      reserveInStore(request, nowEpochMs),
    told,
  }
}
