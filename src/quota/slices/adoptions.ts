import { partitionOf } from '../redis/stored-keys.js'
import type { Buckets } from '../redis/buckets.js'
import type { Adopted, Moved, Pending } from './slice-turn.js'

/** What became of a pending request, all of it. `known`: another reservation has its key, and its answers carry that. */
export type Adoption = 'adopted' | 'abandoned' | 'known'

/**
 * In which order the buckets are told of a pending request. Its home is last: whoever finds it there finds all of it.
 * Where the home says that another reservation has the key, the other buckets are told once more: from then on the answers
 * of this one carry every part of that, and what this one held is back. What comes too late there for what ended the
 * other to be remembered changes nothing, and the home is asked again, as long as it remembers that the other has ended:
 * until then the report may not have come there. A process that dies between two of them leaves what was told to the lease.
 */
export interface Adoptions<Context> {
  /** The buckets that are told first. */
  begin(pending: Pending<Context>): readonly number[]
  answered(pending: Pending<Context>, bucket: number, adopted: Adopted): void
  /** The buckets whose answer is missing. */
  waitsFor(pending: Pending<Context>): readonly number[]
  /** Tells the home again of those of which it has to forget the other first. */
  tellAgain(): void
  /** Those that have begun, and are not over. */
  all(): readonly Pending<Context>[]
  /** What is answered of it further changes nothing. */
  forget(pending: Pending<Context>): void
}

export interface AdoptionsOptions<Context> {
  readonly buckets: Buckets
  readonly tell: (pending: Pending<Context>, bucket: number) => void
  /** The moment at the node that has the bucket: the earliest that it can be. */
  readonly nowAt: (bucket: number) => number
  /** @param back which of its holds have their place in their slice still */
  readonly onAdopted: (
    pending: Pending<Context>,
    adoption: Adoption,
    back: readonly number[],
  ) => void
}

/**
 * For so long after the home is asked a part may take the place of one that is not there. What ends that one is
 * remembered for a minute at least, by clocks of which none is asked here.
 */
const TAKES_PLACE_MS = 30_000

interface Stage {
  readonly waitsFor: Set<number>
  readonly back: number[]
  /** Until when another's place may be taken: counted from before the home is asked, as a process can stand still since. */
  beforeMs: ReadonlyMap<number, number>
  readonly late: Set<number>
  /** Has the home still to forget the other? */
  isWaiting: boolean
}

export function createAdoptions<Context>(options: AdoptionsOptions<Context>): Adoptions<Context> {
  const { buckets, tell, nowAt, onAdopted } = options
  const stages = new Map<Pending<Context>, Stage>()

  function end(pending: Pending<Context>, adoption: Adoption, { back }: Stage): void {
    stages.delete(pending)
    onAdopted(pending, adoption, back)
  }

  function tellHome(pending: Pending<Context>, stage: Stage): void {
    stage.isWaiting = false
    const [home, ...others] = pending.parts
    stage.beforeMs = new Map(others.map(({ bucket }) => [bucket, nowAt(bucket) + TAKES_PLACE_MS]))
    stage.waitsFor.add(home.bucket)
    tell(pending, home.bucket)
  }

  function tellAll(pending: Pending<Context>, stage: Stage, which: Iterable<number>): void {
    for (const bucket of which) stage.waitsFor.add(bucket)
    for (const bucket of stage.waitsFor) tell(pending, bucket)
  }

  function homeAnswered(pending: Pending<Context>, stage: Stage, adopted: Adopted): void {
    const [home, ...others] = pending.parts
    if (adopted === 'adopted' || adopted === 'moved') {
      end(pending, 'adopted', stage)
      return
    }
    stage.back.push(...home.indices)
    const moved = movedTo(others, stage, adopted)
    if (moved.size === 0) {
      end(pending, adopted === 'abandoned' ? 'abandoned' : 'known', stage)
      return
    }
    pending.moved = moved
    tellAll(pending, stage, moved.keys())
  }

  /** What the home says of the other reservation, by bucket. */
  function movedTo(
    others: Pending<Context>['parts'][number][],
    { beforeMs }: Stage,
    adopted: Adopted,
  ): Map<number, Moved> {
    const [, id, ...elsewhere] = typeof adopted === 'string' ? [] : adopted
    const ofOther = new Set(elsewhere.map((key) => buckets.ofPartition(partitionOf(key))))
    const moved = new Map<number, Moved>()
    for (const { bucket } of others) {
      moved.set(bucket, {
        to: ofOther.has(bucket) ? id : undefined,
        beforeMs: beforeMs.get(bucket),
      })
    }
    for (const bucket of ofOther) if (!moved.has(bucket)) moved.set(bucket, { to: id })
    return moved
  }

  /** The other is live still, or it is over everywhere: then nothing takes the place of a part that is not there. */
  function homeAnsweredAgain(pending: Pending<Context>, stage: Stage, adopted: Adopted): void {
    if (adopted === 'ended') {
      stage.isWaiting = true
      return
    }
    const isLive = typeof adopted !== 'string' && adopted[1] !== undefined
    pending.moved = isLive
      ? movedTo(pending.parts.slice(1), stage, adopted)
      : new Map([...(pending.moved ?? [])].map(([bucket, { to }]) => [bucket, { to, over: true }]))
    const late = [...stage.late]
    stage.late.clear()
    tellAll(pending, stage, late)
  }

  function othersAnswered(pending: Pending<Context>, stage: Stage): void {
    if (pending.moved === undefined || stage.late.size > 0) tellHome(pending, stage)
    else end(pending, 'known', stage)
  }

  return {
    begin(pending) {
      const [home, ...others] = pending.parts
      const first = (others.length > 0 ? others : [home]).map(({ bucket }) => bucket)
      const stage = { beforeMs: new Map<number, number>(), back: [], late: new Set<number>() }
      stages.set(pending, { ...stage, waitsFor: new Set(first), isWaiting: false })
      return first
    },

    answered(pending, bucket, adopted) {
      const stage = stages.get(pending)
      if (stage?.waitsFor.delete(bucket) !== true) return
      const [home, ...others] = pending.parts
      if (bucket === home.bucket) {
        if (pending.moved === undefined) homeAnswered(pending, stage, adopted)
        else homeAnsweredAgain(pending, stage, adopted)
        return
      }
      if (adopted === 'abandoned') {
        stage.back.push(...(others.find((part) => part.bucket === bucket)?.indices ?? []))
      }
      if (adopted === 'late') stage.late.add(bucket)
      if (stage.waitsFor.size === 0) othersAnswered(pending, stage)
    },

    waitsFor: (pending) => [...(stages.get(pending)?.waitsFor ?? [])],
    all: () => [...stages.keys()],
    tellAgain() {
      for (const [pending, stage] of stages) if (stage.isWaiting) tellHome(pending, stage)
    },

    forget(pending) {
      stages.delete(pending)
    },
  }
}
