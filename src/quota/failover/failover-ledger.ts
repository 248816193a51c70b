import { DependencyError, PartError, UndecidedError } from '../../errors.js'
import { createCensuses } from './censuses.js'
import { endedBeside } from '../expired.js'
import { createFirstAnswers } from './first-answers.js'
import { createLocalParts } from './local-parts.js'
import type { GuardedHeld, GuardedLedger, StoreFailure, Unavailable } from './guarded-ledger.js'
import type { Held, Hold, Ledger, ReserveRequest, Short } from '../ledger.js'
import type { MemoryLedger } from '../memory/memory-ledger.js'
import { beyondShares, heldWithout, namesOf, planFor } from './plan.js'
import type { Plan } from './plan.js'
import type { Processes } from './processes.js'
import { deniesUnasked } from '../quota.js'
import type { Quota } from '../quota.js'
import { rememberedIn } from '../remembered.js'
import type { Remembered } from '../remembered.js'
import { reserveWhatFits } from './reserve-what-fits.js'
import type { Fitted } from './reserve-what-fits.js'
import { createShares } from './shares.js'

export interface FailoverLedgerOptions<Context> {
  /** The ledger that counts as long as it answers. */
  readonly main: Ledger<Context>
  /** What is remembered of it here at most. */
  readonly remembered?: Remembered
  /** What is there of this process while it does not. */
  readonly local: {
    /** Keeps what was admitted in any outage, so that many short ones admit no more than a long one. */
    readonly ledger: MemoryLedger<Context>
    readonly processes: Processes
    /** Processes that share the limits, at least. */
    readonly atLeast: number
    /** When a request that comes now must be answered, by the monotonic clock. */
    readonly dueMonotonicMs: () => number
  }
}

/**
 * Ids of what is held locally. No call for one reaches `main`, where the same request may still be held until it is
 * abandoned: one stream would end two reservations. Too long for chance to make one of a random id.
 */
const LOCAL_ID = 'local-ledger-'

/**
 * A ledger over one whose store can fail: then each quota is asked for what it says (`onStoreFailure`), at once and
 * without a further call of the store. One that says `deny` refuses the request; one that says `local` holds it to
 * this process's share (`shares.ts`); one that says `allow` is left out. A shadow quota never refuses.
 *
 * A reserve that failed takes no effect later, as the contract of the ledger has it, and where it may have taken
 * effect already, the adapter abandons it.
 */
export function createFailoverLedger<Context>(
  options: FailoverLedgerOptions<Context>,
): GuardedLedger<Context> {
  const { main, local, remembered = rememberedIn() } = options
  const shares = createShares(local.atLeast)
  const firsts = createFirstAnswers<Context>(remembered)
  const parts = createLocalParts(local.ledger, remembered)
  const censuses = createCensuses(local.processes, shares)

  function ledgerOf(id: string): Ledger<Context> {
    return id.startsWith(LOCAL_ID) ? local.ledger : main
  }

  /** Holds what a plan leaves to this process's share, under an id and a key of its own. */
  async function holdInShare(
    plan: Plan,
    hold: (holds: readonly Hold[]) => Promise<Fitted<Context>>,
    fault: string,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Unavailable> {
    // Before it is: meanwhile the claim that it is held by may become less.
    if (plan.local.some(({ quota }) => !quota.shadow)) shares.used(nowEpochMs)
    const fitted = await hold(plan.local)
    if ('refusing' in fitted) return unavailable(fitted.refusing, 'full', fault)
    const { answer } = fitted
    // What a share has no room for may well fit the quota, which is not used up: its store is away.
    if (answer.kind === 'short') return unavailable(answer.quota, 'share', fault)
    const { holds } = answer.reservation
    return heldWithout(answer, plan, holds, [...plan.uncounted, ...fitted.uncounted], fault)
  }

  async function reserveLocally(
    request: ReserveRequest<Context>,
    fault: string,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Unavailable> {
    const plan = planFor(request, shares, nowEpochMs)
    if ('refusing' in plan) return unavailable(plan.refusing, plan.why, fault)
    const hold = (holds: readonly Hold[]): Promise<Fitted<Context>> =>
      reserveWhatFits({ ...request, id: LOCAL_ID + request.id, holds }, local.ledger, nowEpochMs)
    return holdInShare(plan, hold, fault, nowEpochMs)
  }

  /**
   * Where a part of the store is away, only its quotas are asked what they say; the others are held as ever. What a share
   * holds comes first, since that is given back without the store. Undefined where the store fails again.
   */
  async function reserveRest(
    request: ReserveRequest<Context>,
    { message: fault, places, isBack, heldBy }: PartError,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Short | Unavailable | undefined> {
    const failed = request.holds.filter((_, index) => places.includes(index))
    const holds = request.holds.filter((_, index) => !places.includes(index))
    const plan = planFor({ ...request, holds: failed }, shares, nowEpochMs)
    if ('refusing' in plan) {
      await isBack
      return unavailable(plan.refusing, plan.why, fault)
    }
    const hold = (inShare: readonly Hold[]): Promise<Fitted<Context>> =>
      parts.reserve(request, inShare, nowEpochMs)
    const part =
      plan.local.length === 0 ? undefined : await holdInShare(plan, hold, fault, nowEpochMs)
    if (part?.kind === 'unavailable') {
      await isBack
      return part
    }
    let isWhole = false
    try {
      const answer = await reserveBeside({ ...request, holds }, isBack, nowEpochMs)
      if (answer === undefined && heldBy !== undefined) throw heldBefore()
      if (answer?.kind !== 'held') return answer
      isWhole = true
      const nowTick = local.ledger.tickAt(nowEpochMs)
      const held =
        part === undefined
          ? heldWithout(answer, plan, [], plan.uncounted, fault)
          : parts.join(request, answer, part, nowTick)
      firsts.add(request, held, nowTick)
      return held
    } catch (error) {
      faultOf(error)
      // What is refused is not told before what it held is back.
      await isBack
      if (error instanceof PartError) await error.isBack
      const foundBy = error instanceof PartError ? error.heldBy : undefined
      // It may have found what its own first call held.
      const isOwn = foundBy?.startsWith(request.id) === true
      // Another part is away by now, and no quota's word may hold it a second time.
      if (heldBy !== undefined || (foundBy !== undefined && !isOwn)) throw heldBefore(error)
      return undefined
    } finally {
      if (part !== undefined && !isWhole) await parts.giveBack(part, nowEpochMs)
    }
  }

  /**
   * Holds the rest while what a first call held of it is on its way back. That comes to each node before this does, as a
   * rule; where not, this is short for it or finds it by the key, so it is asked once more when all is back. Each time
   * under another id: what was given up under one comes to nothing.
   *
   * @returns undefined where it is short, perhaps for what has not come back
   */
  async function reserveBeside(
    request: ReserveRequest<Context>,
    isBack: Promise<boolean>,
    nowEpochMs: number,
  ): Promise<Held<Context> | Short | undefined> {
    const ask = (call: 2 | 3): Promise<Held<Context> | Short> => {
      const id = `${request.id}-${String(call)}`
      return main.reserve({ ...request, id, isLast: true, mayBeAskedAgain: call === 2 }, nowEpochMs)
    }
    let undecided: UndecidedError | undefined
    const beside = await ask(2).catch((error: unknown) => {
      if (!(error instanceof UndecidedError)) throw error
      undecided = error
    })
    if (beside?.kind === 'held') return beside
    const isAllBack = await isBack
    const after = await ask(3).catch(async (error: unknown) => {
      if (undecided === undefined || !(error instanceof DependencyError)) throw error
      // It says nothing of the earlier call, which may hold all of it: a second charge for one stream.
      if (error instanceof PartError) await error.isBack
      throw undecided
    })
    return after.kind === 'held' || isAllBack ? after : undefined
  }

  /** The same stream again: it is held already, by some of its quotas. */
  async function repeatLocally(
    request: ReserveRequest<Context>,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Short> {
    const answer = await local.ledger.reserve(request, nowEpochMs)
    if (answer.kind === 'short') return answer
    const localQuotas = namesOf(answer.reservation.holds)
    const uncountedQuotas = namesOf(request.holds).filter((name) => !localQuotas.includes(name))
    const fault = 'held while the store was away'
    return { ...answer, fallback: { why: 'store', fault, localQuotas, uncountedQuotas } }
  }

  return {
    async exhausted(request, nowEpochMs) {
      const { idempotencyKey } = request
      if (local.ledger.knows(idempotencyKey) || firsts.knows(idempotencyKey)) return undefined
      try {
        return await main.exhausted(request, nowEpochMs)
      } catch (error) {
        const fault = faultOf(error)
        const refusing = request.holds.find(({ quota }) => deniesUnasked(quota))
        // The others are asked when it is known what the request takes.
        return refusing && unavailable(refusing.quota, 'store', fault)
      }
    },

    async reserve(given, nowEpochMs) {
      shares.saw(given.leaseMs, nowEpochMs)
      const needed = beyondShares(given, shares, nowEpochMs)
      // One moment for all calls that `main` may be asked.
      const request = { ...given, dueMonotonicMs: local.dueMonotonicMs(), needed }
      if (local.ledger.knows(request.idempotencyKey)) {
        return repeatLocally(request, nowEpochMs)
      }
      // Where a part of the store was away, the whole of it may not know the key.
      if (firsts.isPartial(request.idempotencyKey)) {
        const first = firsts.repeat(request)
        if (first !== undefined) return first
      }
      try {
        const answer = await main.reserve(request, nowEpochMs)
        if (answer.kind === 'held') firsts.add(request, answer, local.ledger.tickAt(nowEpochMs))
        return answer
      } catch (error) {
        const fault = faultOf(error)
        // Held in the store already: a second reservation, here, would be a second charge for one stream.
        const first = firsts.repeat(request)
        const answer =
          first ??
          (error instanceof PartError ? await reserveRest(request, error, nowEpochMs) : undefined)
        return answer ?? reserveLocally(request, fault, nowEpochMs)
      }
    },

    async find(id, nowEpochMs) {
      const found = await ledgerOf(id).find(id, nowEpochMs)
      return found && { ...found, holds: parts.holdsOf(id) ?? found.holds }
    },

    async end(id, end, nowEpochMs, tries) {
      const ended = await ledgerOf(id).end(id, end, nowEpochMs, tries)
      firsts.remove(id)
      return parts.end(id, end, ended, nowEpochMs)
    },

    async abandon(id, nowEpochMs, carrier = id) {
      const told = firsts.giveUp(id, carrier)
      if (told === undefined) return undefined
      await parts.abandon(id, told, nowEpochMs)
      const ended = await ledgerOf(id).abandon(id, nowEpochMs, told)
      return ended && parts.told(ended)
    },

    async expire(nowEpochMs, onFailure) {
      const nowTick = local.ledger.tickAt(nowEpochMs)
      firsts.forgetDue(nowTick)
      parts.forgetDue(nowTick)
      const here = await local.ledger.expire(nowEpochMs)
      const unsettled = here.filter((ended) => !parts.isPart(ended))
      const failures: unknown[] = []
      const failed = (error: unknown): void => void failures.push(error)
      await censuses.ask(nowEpochMs).catch(failed)
      try {
        const ended = await main.expire(nowEpochMs, failed)
        unsettled.push(...ended.map((each) => parts.told(each)))
      } catch (error) {
        failed(error)
      }
      return endedBeside(unsettled, failures, onFailure)
    },

    balances: async (holds, nowEpochMs) => main.balances(holds, nowEpochMs),

    size() {
      const { partitions, reservations, toGiveBack = 0 } = main.size()
      const own = local.ledger.size()
      return {
        partitions: partitions + own.partitions,
        // One report ends both parts.
        reservations: reservations + own.reservations - parts.count(),
        processes: shares.processes(),
        toGiveBack,
      }
    },

    async close() {
      firsts.clear()
      parts.clear()
      await censuses.leave()
      await main.close()
      await local.ledger.close()
    },
  }
}

function heldBefore(cause?: unknown): UndecidedError {
  const what = 'an earlier call with the same key cannot be seen everywhere'
  return new UndecidedError('ledger', what, { cause })
}

function unavailable(quota: Quota, why: StoreFailure, fault: string): Unavailable {
  return { kind: 'unavailable', quota, why, fault }
}

/**
 * What failed, fit for a log.
 *
 * @throws what is no failure of the store, or of one that answers
 */
function faultOf(error: unknown): string {
  if (error instanceof UndecidedError) throw error
  if (error instanceof DependencyError && error.dependency === 'ledger') return error.message
  throw error
}
