import { shortHash } from '../../key-text.js'
import type { Hold } from '../ledger.js'

// Every key of the Redis ledger. Nothing of a caller or a report is readable in one (invariant 8). All keys of a
// bucket have its tag in braces, so that a cluster has them in one slot (`buckets.ts`).

/** A release that writes something else counts apart. */
const SCHEMA = 'tg2'

/** Of the one bucket where there is no cluster. */
export const ONLY_TAG = '0'

/** Reservations by the moment their lease is over. */
export function storedLeases(tag = ONLY_TAG): string {
  return `${SCHEMA}:{${tag}}:leases`
}

export function storedPartition(
  { partitionKey }: Pick<Hold, 'partitionKey'>,
  tag = ONLY_TAG,
): string {
  return `${SCHEMA}:{${tag}}:p:${partitionKey}`
}

/** The partition's key as the ledger's port has it. */
export function partitionOf(stored: string): string {
  return stored.slice(stored.indexOf('}:p:') + 4)
}

/** The id is a capability, so it is hashed like any other text. */
export function storedReservation(id: string, tag = ONLY_TAG): string {
  return `${SCHEMA}:{${tag}}:r:${shortHash(id)}`
}

export function storedIdempotencyKey(key: string, tag = ONLY_TAG): string {
  return `${SCHEMA}:{${tag}}:i:${shortHash(key)}`
}

/** That a reservation will be under this id, which its process cannot tell yet. Not under the key that it will have. */
export function storedComing(id: string, tag = ONLY_TAG): string {
  return `${SCHEMA}:{${tag}}:c:${shortHash(id)}`
}

/** Processes by when they were last seen, and what part of each limit they claim; one script has both. */
export const PROCESSES = `${SCHEMA}:{processes}`
export const SHARES = `${SCHEMA}:{processes}:shares`

/** The slices of a partition, beside its state. */
export function storedSlices({ partitionKey }: Pick<Hold, 'partitionKey'>, tag = ONLY_TAG): string {
  return `${SCHEMA}:{${tag}}:s:${partitionKey}`
}

/** Slices of open windows by the moment at which what they may have admitted is over. */
export function storedDueSlices(tag = ONLY_TAG): string {
  return `${SCHEMA}:{${tag}}:due`
}

/** The last turn of a process that takes slices. */
export function storedTurn(owner: string, tag = ONLY_TAG): string {
  return `${SCHEMA}:{${tag}}:t:${shortHash(owner)}`
}
