import { partitionOf } from '../redis/stored-keys.js'
import type { Buckets } from '../redis/buckets.js'
import type { Adopted, Pending } from './slice-turn.js'

/** What became of a pending request, all of it. `known`: another reservation has its key, and its answers carry that. */
export type Adoption = 'adopted' | 'abandoned' | 'known'

/**
 * In which order the buckets are told of a pending request. Its home is last: whoever finds it there finds all of it.
 * Where the home says that another reservation has the key, the other buckets are told once more: from then on the answers
 * of this one carry every part of that, and what this one held is back. A process that dies between two of them leaves
 * what was told to the lease.
 */
export interface Adoptions<Context> {
  /** The buckets that are told first. */
  begin(pending: Pending<Context>): readonly number[]
  answered(pending: Pending<Context>, bucket: number, adopted: Adopted): void
  /** The buckets whose answer is missing. */
  waitsFor(pending: Pending<Context>): readonly number[]
  /** What is answered of it further changes nothing. */
  forget(pending: Pending<Context>): void
}

export interface AdoptionsOptions<Context> {
  readonly buckets: Buckets
  readonly tell: (pending: Pending<Context>, bucket: number) => void
  /** @param back which of its holds have their place in their slice still */
  readonly onAdopted: (
    pending: Pending<Context>,
    adoption: Adoption,
    back: readonly number[],
  ) => void
}

interface Stage {
  readonly waitsFor: Set<number>
  readonly back: number[]
}

export function createAdoptions<Context>(options: AdoptionsOptions<Context>): Adoptions<Context> {
  const { buckets, tell, onAdopted } = options
  const stages = new Map<Pending<Context>, Stage>()

  function end(pending: Pending<Context>, adoption: Adoption, { back }: Stage): void {
    stages.delete(pending)
    onAdopted(pending, adoption, back)
  }

  function homeAnswered(pending: Pending<Context>, stage: Stage, adopted: Adopted): void {
    const [home, ...others] = pending.parts
    if (adopted === 'adopted' || adopted === 'moved') {
      end(pending, 'adopted', stage)
      return
    }
    stage.back.push(...home.indices)
    const [, id, ...elsewhere] = adopted === 'abandoned' ? [] : adopted
    const ofOther = new Set(elsewhere.map((key) => buckets.ofPartition(partitionOf(key))))
    const moved = new Map<number, string | undefined>()
    for (const { bucket } of others) moved.set(bucket, ofOther.has(bucket) ? id : undefined)
    for (const bucket of ofOther) moved.set(bucket, id)
    if (moved.size === 0) {
      end(pending, adopted === 'abandoned' ? 'abandoned' : 'known', stage)
      return
    }
    pending.moved = moved
    for (const bucket of moved.keys()) stage.waitsFor.add(bucket)
    for (const bucket of moved.keys()) tell(pending, bucket)
  }

  return {
    begin(pending) {
      const [home, ...others] = pending.parts
      const first = (others.length > 0 ? others : [home]).map(({ bucket }) => bucket)
      stages.set(pending, { waitsFor: new Set(first), back: [] })
      return first
    },

    answered(pending, bucket, adopted) {
      const stage = stages.get(pending)
      if (stage?.waitsFor.delete(bucket) !== true) return
      const [home, ...others] = pending.parts
      if (bucket === home.bucket) {
        homeAnswered(pending, stage, adopted)
        return
      }
      if (adopted === 'abandoned') {
        stage.back.push(...(others.find((part) => part.bucket === bucket)?.indices ?? []))
      }
      if (stage.waitsFor.size > 0) return
      if (pending.moved !== undefined) {
        end(pending, 'known', stage)
        return
      }
      stage.waitsFor.add(home.bucket)
      tell(pending, home.bucket)
    },

    waitsFor: (pending) => [...(stages.get(pending)?.waitsFor ?? [])],

    forget(pending) {
      stages.delete(pending)
    },
  }
}
