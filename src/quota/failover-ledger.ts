import { DependencyError, PartError, UndecidedError } from '../errors.js'
import { createFirstAnswers } from './first-answers.js'
import { answerOf, mayPass } from './guarded-ledger.js'
import type { GuardedHeld, GuardedLedger, StoreFailure, Unavailable } from './guarded-ledger.js'
import type { Ended, Hold, Ledger, ReserveRequest, Short } from './ledger.js'
import type { MemoryLedger } from './memory-ledger.js'
import type { Processes } from './processes.js'
import type { Quota } from './quota.js'
import { reserveWhatFits } from './reserve-what-fits.js'
import { createShares } from './shares.js'

export interface FailoverLedgerOptions<Context> {
  /** The ledger that counts as long as it answers. */
  readonly main: Ledger<Context>
  /** Undefined where `main` is this process's own: there is nothing to fall back on. */
  readonly local?: {
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

const FULL = 'the ledger holds as much as it may'

/** What becomes of a request's holds without their store. */
interface Plan {
  readonly local: readonly Hold[]
  readonly uncounted: readonly Hold[]
  readonly shadowShort: readonly Quota[]
}

interface Refusing {
  readonly refusing: Quota
  readonly why: StoreFailure
}

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
  const { main, local } = options
  const shares = createShares(local?.atLeast ?? 1)
  const firsts = createFirstAnswers<Context>()
  let lastLocalEpochMs: number | undefined

  function ledgerOf(id: string): Ledger<Context> {
    return local !== undefined && id.startsWith(LOCAL_ID) ? local.ledger : main
  }

  function planFor(
    { holds, leaseMs }: ReserveRequest<Context>,
    nowEpochMs: number,
  ): Plan | Refusing {
    const [inShare, uncounted, shadowShort]: [Hold[], Hold[], Quota[]] = [[], [], []]
    for (const hold of holds) {
      const { quota } = hold
      const answer = answerOf(quota)
      const share = answer === 'local' ? shares.of(quota, leaseMs, nowEpochMs) : undefined
      if (share !== undefined) inShare.push({ ...hold, quota: share })
      else if (mayPass(quota)) uncounted.push(hold)
      else return { refusing: quota, why: answer === 'local' ? 'share' : 'store' }
      if (share === undefined && answer !== 'allow') shadowShort.push(quota)
    }
    return { local: inShare, uncounted, shadowShort }
  }

  async function reserveLocally(
    request: ReserveRequest<Context>,
    ledger: Ledger<Context>,
    fault: string,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Unavailable> {
    const plan = planFor(request, nowEpochMs)
    if ('refusing' in plan) return unavailable(plan.refusing, plan.why, fault)
    const asked = { ...request, id: LOCAL_ID + request.id, holds: plan.local }
    const fitted = await reserveWhatFits(asked, ledger, nowEpochMs)
    if ('refusing' in fitted) return unavailable(fitted.refusing, 'full', fault)
    const { answer } = fitted
    // What a share has no room for may well fit the quota, which is not used up: its store is away.
    if (answer.kind === 'short') return unavailable(answer.quota, 'share', fault)
    const { holds } = answer.reservation
    if (holds.some(({ quota }) => !quota.shadow)) lastLocalEpochMs = nowEpochMs
    return {
      ...answer,
      shadowShort: [...answer.shadowShort, ...plan.shadowShort],
      fallback: {
        why: 'store',
        fault,
        localQuotas: namesOf(holds),
        uncountedQuotas: namesOf([...plan.uncounted, ...fitted.uncounted]),
      },
    }
  }

  /**
   * Where a part of the store is away, only its quotas are asked what they say; the others are held as ever. Undefined
   * where that cannot be: the store fails again, or a share here would be a second reservation beside the one there.
   */
  async function reserveRest(
    request: ReserveRequest<Context>,
    { message: fault, places }: PartError,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Short | Unavailable | undefined> {
    const failed = request.holds.filter((_, index) => places.includes(index))
    const holds = request.holds.filter((_, index) => !places.includes(index))
    const plan = planFor({ ...request, holds: failed }, nowEpochMs)
    if ('refusing' in plan) return unavailable(plan.refusing, plan.why, fault)
    if (plan.local.length > 0) return undefined
    try {
      // Under another id: what was asked for under the first may still be on its way to be abandoned.
      const rest = { ...request, id: `${request.id}-2`, holds }
      const answer = await main.reserve(rest, nowEpochMs)
      if (answer.kind === 'short') return answer
      const uncountedQuotas = namesOf(plan.uncounted)
      const held = {
        ...answer,
        shadowShort: [...answer.shadowShort, ...plan.shadowShort],
        fallback: { why: 'store', fault, localQuotas: [], uncountedQuotas },
      } as const
      firsts.add(request, held, nowEpochMs)
      return held
    } catch (error) {
      faultOf(error)
      return undefined
    }
  }

  /** The same stream again: it is held already, by some of its quotas. */
  async function repeatLocally(
    request: ReserveRequest<Context>,
    ledger: Ledger<Context>,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Short> {
    const answer = await ledger.reserve(request, nowEpochMs)
    if (answer.kind === 'short') return answer
    const localQuotas = namesOf(answer.reservation.holds)
    const uncountedQuotas = namesOf(request.holds).filter((name) => !localQuotas.includes(name))
    const fault = 'held while the store was away'
    return { ...answer, fallback: { why: 'store', fault, localQuotas, uncountedQuotas } }
  }

  async function reserveInMemory(
    request: ReserveRequest<Context>,
    nowEpochMs: number,
  ): Promise<GuardedHeld<Context> | Short | Unavailable> {
    const fitted = await reserveWhatFits(request, main, nowEpochMs)
    if ('refusing' in fitted) return unavailable(fitted.refusing, 'full', FULL)
    const { answer, uncounted } = fitted
    if (answer.kind === 'short' || uncounted.length === 0) return answer
    const uncountedQuotas = namesOf(uncounted)
    return { ...answer, fallback: { why: 'full', fault: FULL, localQuotas: [], uncountedQuotas } }
  }

  return {
    async exhausted(request, nowEpochMs) {
      const { idempotencyKey } = request
      if (local?.ledger.knows(idempotencyKey) || firsts.knows(idempotencyKey)) return undefined
      try {
        return await main.exhausted(request, nowEpochMs)
      } catch (error) {
        const fault = faultOf(error)
        const refusing = request.holds.find(
          ({ quota }) => !mayPass(quota) && answerOf(quota) === 'deny',
        )
        // The others are asked when it is known what the request takes.
        return refusing && unavailable(refusing.quota, 'store', fault)
      }
    },

    async reserve(given, nowEpochMs) {
      if (local === undefined) return reserveInMemory(given, nowEpochMs)
      // One for both calls that `main` may be asked.
      const request = { ...given, dueMonotonicMs: local.dueMonotonicMs() }
      if (local.ledger.knows(request.idempotencyKey)) {
        return repeatLocally(request, local.ledger, nowEpochMs)
      }
      // Where a part of the store was away, the whole of it may not know the key.
      if (firsts.isPartial(request.idempotencyKey)) {
        const first = firsts.repeat(request.idempotencyKey)
        if (first !== undefined) return first
      }
      try {
        const answer = await main.reserve(request, nowEpochMs)
        if (answer.kind === 'held') firsts.add(request, answer, nowEpochMs)
        return answer
      } catch (error) {
        const fault = faultOf(error)
        // Held in the store already: a second reservation, here, would be a second charge for one stream.
        const first = firsts.repeat(request.idempotencyKey)
        const answer =
          first ??
          (error instanceof PartError ? await reserveRest(request, error, nowEpochMs) : undefined)
        return answer ?? reserveLocally(request, local.ledger, fault, nowEpochMs)
      }
    },

    find: async (id, nowEpochMs) => ledgerOf(id).find(id, nowEpochMs),

    async end(id, end, nowEpochMs) {
      const ended = await ledgerOf(id).end(id, end, nowEpochMs)
      firsts.remove(id)
      return ended
    },

    async abandon(id, nowEpochMs) {
      return firsts.giveUp(id) ? ledgerOf(id).abandon(id, nowEpochMs) : undefined
    },

    async expire(nowEpochMs) {
      if (local === undefined) return main.expire(nowEpochMs)
      firsts.forgetDue(nowEpochMs)
      const unsettled: Ended<Context>[] = [...(await local.ledger.expire(nowEpochMs))]
      const failures: unknown[] = []
      try {
        const agoMs = lastLocalEpochMs === undefined ? undefined : nowEpochMs - lastLocalEpochMs
        shares.learn(await local.processes.census(agoMs), nowEpochMs)
      } catch (error) {
        failures.push(error)
      }
      try {
        unsettled.push(...(await main.expire(nowEpochMs)))
      } catch (error) {
        failures.push(error)
      }
      // What has ended is told nobody else; what failed fails again the next time.
      if (failures.length > 0 && unsettled.length === 0) throw failures[0]
      return unsettled
    },

    balances: async (holds, nowEpochMs) => main.balances(holds, nowEpochMs),

    size() {
      const { partitions, reservations } = main.size()
      if (local === undefined) return { partitions, reservations }
      const own = local.ledger.size()
      return {
        partitions: partitions + own.partitions,
        reservations: reservations + own.reservations,
        processes: shares.processes(),
      }
    },

    async close() {
      firsts.clear()
      await main.close()
      await local?.ledger.close()
    },
  }
}

function unavailable(quota: Quota, why: StoreFailure, fault: string): Unavailable {
  return { kind: 'unavailable', quota, why, fault }
}

function namesOf(holds: readonly Hold[]): readonly string[] {
  return holds.map(({ quota }) => quota.name)
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
