import type { Store } from '../../store/store.js'
import { createAdoptions } from './adoptions.js'
import type { Adoption } from './adoptions.js'
import type { Hold } from '../ledger.js'
import { createAsk } from '../redis/ask.js'
import { createCalendarSource } from '../redis/calendars.js'
import { loadRedisScripts } from '../redis/scripts.js'
import { createBucketTurns } from './bucket-turns.js'
import type { BucketTurns, TurnsOptions } from './bucket-turns.js'
import { createComing } from './coming.js'
import { partIn } from './slice-turn.js'
import type { Pending } from './slice-turn.js'
import type { Slice, Taking } from './slices.js'

/**
 * What a process tells the store of its slices: in turns of each bucket, at the same time, so that no bucket waits for
 * what the node of another does. One that nothing was told of is never asked; there are as many as the store has.
 */
export interface SliceTurns<Context> {
  adopt(pending: Pending<Context>): void
  /** It was not sent yet, and will not be. */
  withdraw(pending: Pending<Context>): void
  /** Adopts in the next turn what was set aside since it could not be adopted. */
  retry(pending: Pending<Context>): void
  /** Tells the homes of what is late that it comes. */
  tellLate(): void
  giveBack(slice: Slice, amount: number): void
  take(taking: Taking): void
  /** As `BucketTurns`, of that bucket where it takes longest. */
  slicesIn(buckets: ReadonlySet<number>): { readonly turns: number; readonly ms: number }
  /** Something was given back that the store does not know yet. */
  isReturning(bucket: number): boolean
  /** How many turns of the bucket the store has answered by which something came back. */
  returned(bucket: number): number
  /** In each bucket one that was set aside is retried. */
  retryOldest(): void
  /** All that were set aside are. */
  retryAll(): void
  /**
   * As `BucketTurns`, of these buckets or of all. Over when all of them have succeeded or failed.
   *
   * @throws DependencyError one of them failed
   */
  flush(what?: 'all' | 'slices', buckets?: ReadonlySet<number>): Promise<void>
}

export interface SliceTurnsOptions<Context> extends Omit<
  TurnsOptions<Context>,
  'onAdopted' | 'onSetAside' | 'onGivenUp' | 'onLate'
> {
  readonly store: Store
  readonly timeoutMs: number
  /** The moment at the node that has the bucket as the process knows it. */
  readonly nowAt: (bucket: number) => number
  /** The store's word for all of it. @param back which of its holds have their place in their slice still */
  readonly onAdopted: (
    pending: Pending<Context>,
    adoption: Adoption,
    back: readonly number[],
  ) => void
  /** The script gives up on the part of a pending request that has these holds. It is set aside. */
  readonly onSetAside: (holds: readonly Hold[]) => void
  /** Too many are aside: it will not be adopted, and its places stay spent. */
  readonly onGivenUp: (pending: Pending<Context>) => void
}

/** Elsewhere, at home, and elsewhere once more: further ones are of what came meanwhile, or late. */
const STAGES = 3

export function createSliceTurns<Context>(
  options: SliceTurnsOptions<Context>,
): SliceTurns<Context> {
  const { store, buckets, clock, timeoutMs, moments, nowAt } = options
  const { onSetAside, onGivenUp } = options
  const { turn: script, turnWhenFull: scriptWhenFull, coming: mark } = loadRedisScripts()
  const calendars = createCalendarSource()
  const ask = createAsk({ store, clock, calendars, timeoutMs, moments })
  const told = new Map<number, BucketTurns<Context>>()
  /** What follows from one turn is told by the next ones together. */
  const soon = new Set<number>()
  let passedOn = 0
  const adoptions = createAdoptions<Context>({
    ...options,
    tell(pending, bucket) {
      turnsOf(bucket).adopt(pending)
      flushSoon(bucket)
    },
  })

  const coming = createComing<Context>({
    ...{ script: mark, ask, buckets, clock, nowAt },
    late: () =>
      adoptions.all().filter((pending) => {
        return adoptions.waitsFor(pending).some((bucket) => told.get(bucket)?.isLate(pending))
      }),
  })

  function flushSoon(bucket: number): void {
    passedOn += 1
    if (soon.size === 0) {
      queueMicrotask(() => {
        const which = new Set(soon)
        soon.clear()
        // What was not answered is asked again with what comes, and each second.
        for (const turns of those(which)) turns.flush('all').catch(() => undefined)
      })
    }
    soon.add(bucket)
  }

  function turnsOf(bucket: number): BucketTurns<Context> {
    let turns = told.get(bucket)
    if (turns === undefined) {
      turns = createBucketTurns({
        ...options,
        ...{ script, scriptWhenFull, ask, calendars, bucket },
        nowMs: () => nowAt(bucket),
        onAdopted(pending, at, adopted) {
          adoptions.answered(pending, at, adopted)
        },
        onSetAside(pending, at) {
          const { holds } = pending.request
          onSetAside(partIn(pending, at).indices.map((index) => holds[index] as Hold))
        },
        onGivenUp(pending) {
          adoptions.forget(pending)
          onGivenUp(pending)
        },
        onLate: () => {
          coming.tellSoon()
        },
      })
      told.set(bucket, turns)
    }
    return turns
  }

  function ofPartition(partitionKey: string): BucketTurns<Context> {
    return turnsOf(buckets.ofPartition(partitionKey))
  }

  /** Those of the buckets that something was told of. */
  function those(which: ReadonlySet<number>): readonly BucketTurns<Context>[] {
    return [...which].flatMap((bucket) => told.get(bucket) ?? [])
  }

  return {
    adopt(pending) {
      for (const bucket of adoptions.begin(pending)) turnsOf(bucket).adopt(pending)
    },
    withdraw(pending) {
      for (const { bucket } of pending.parts) told.get(bucket)?.withdraw(pending)
      adoptions.forget(pending)
    },
    retry(pending) {
      for (const bucket of adoptions.waitsFor(pending)) turnsOf(bucket).retry(pending)
    },
    tellLate() {
      adoptions.tellAgain()
      coming.tell()
    },
    giveBack(slice, amount) {
      ofPartition(slice.hold.partitionKey).giveBack(slice, amount)
    },
    take(taking) {
      ofPartition(taking.hold.partitionKey).take(taking)
    },
    slicesIn(which) {
      const each = those(which).map((turns) => turns.slicesIn())
      return {
        turns: Math.max(0, ...each.map(({ turns }) => turns)),
        ms: Math.max(0, ...each.map(({ ms }) => ms)),
      }
    },
    isReturning: (bucket) => told.get(bucket)?.isReturning() === true,
    returned: (bucket) => told.get(bucket)?.returned() ?? 0,
    retryOldest() {
      for (const turns of told.values()) turns.retryOldest()
    },
    retryAll() {
      for (const turns of told.values()) turns.retryAll()
    },
    async flush(what = 'all', which = new Set(told.keys())) {
      for (let stage = 0; stage < STAGES; stage += 1) {
        const before = passedOn
        const outcomes = await Promise.allSettled(those(which).map((turns) => turns.flush(what)))
        for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
        if (what === 'slices' || passedOn === before) return
      }
    },
  }
}
