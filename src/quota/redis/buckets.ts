import { SLOTS, slotOf } from '../../store/store.js'
import { ONLY_TAG } from './stored-keys.js'
import type { Hold } from '../ledger.js'

/** What of a reservation is in one bucket. */
export interface Part {
  readonly bucket: number
  /** Which of its holds, in their order. */
  readonly indices: readonly number[]
}

/**
 * Where in a cluster what is kept: a partition is in the bucket of its tenant, one that is of no tenant in a bucket of
 * its own key. All keys of a bucket are in one slot, so one script decides over all of a tenant. A reservation is in
 * every bucket that it holds something in; its home, the first, has its context, its idempotency key, and the names
 * of the rest. Without a cluster there is one bucket, and every reservation has one part.
 */
export interface Buckets {
  readonly count: number
  /** The hash tag of its keys. */
  tagOf(bucket: number): string
  ofPartition(partitionKey: string): number
  ofHolds(holds: readonly Hold[]): ReadonlySet<number>
  /** The same for every call with this idempotency key, as long as the quotas are the same. */
  homeOf(request: { readonly holds: readonly Hold[]; readonly idempotencyKey: string }): number
  /** The home first. */
  partsOf(holds: readonly Hold[], home: number): readonly Part[]
  /** The id that says to every process where its home is. */
  nameId(id: string, home: number): string
  homeOfId(id: string): number
}

/**
 * Of a cluster: so few that the leases of each can be looked at, so many that each of up to some 50 masters has about
 * as many. Other numbers count apart.
 */
export const CLUSTER_BUCKETS = 256

/**
 * @param ids `as given`, in tests alone: ids that are no random ones, of reservations that only the process looks for
 *   which made them
 */
export function createBuckets(count: number, ids: 'named' | 'as given' = 'named'): Buckets {
  const bucketOf = (text: string): number => Math.floor((slotOf(text) * count) / SLOTS)
  const tags = count === 1 ? [ONLY_TAG] : tagsOf(count, bucketOf)
  const ofPartition = (partitionKey: string): number => (count === 1 ? 0 : bucketOf(partitionKey))

  return {
    count,
    tagOf: (bucket) => tags[bucket] as string,
    ofPartition,
    ofHolds: (holds) => new Set(holds.map(({ partitionKey }) => ofPartition(partitionKey))),
    homeOf({ holds, idempotencyKey }) {
      if (count === 1) return 0
      const [first = { partitionKey: idempotencyKey }] = holds
      const ofTenant = holds.find(({ partitionKey }) => /^\{[^}]/.test(partitionKey))
      return ofPartition((ofTenant ?? first).partitionKey)
    },
    partsOf(holds, home) {
      const byBucket = new Map<number, number[]>([[home, []]])
      for (const [index, { partitionKey }] of holds.entries()) {
        const bucket = ofPartition(partitionKey)
        const indices = byBucket.get(bucket)
        if (indices === undefined) byBucket.set(bucket, [index])
        else indices.push(index)
      }
      return [...byBucket].map(([bucket, indices]) => ({ bucket, indices }))
    },
    nameId(id, home) {
      if (count === 1 || ids === 'as given') return id
      return `${id}-${home.toString(16).padStart(NAME_DIGITS, '0')}`
    },
    homeOfId(id) {
      if (count === 1) return 0
      const [, name] = /-([0-9a-f]{3})$/.exec(id) ?? []
      const home = name === undefined ? 0 : parseInt(name, 16)
      return home < count ? home : 0
    },
  }
}

const NAME_DIGITS = 3

/**
 * The first whole number in each of equal parts of the slots: masters have ranges of slots, so each has as many
 * buckets as it has of the slots.
 */
function tagsOf(count: number, bucketOf: (text: string) => number): readonly string[] {
  const tags = new Array<string | undefined>(count).fill(undefined)
  let missing = count
  for (let number = 0; missing > 0; number += 1) {
    const tag = String(number)
    const bucket = bucketOf(tag)
    if (tags[bucket] !== undefined) continue
    tags[bucket] = tag
    missing -= 1
  }
  return tags as readonly string[]
}
