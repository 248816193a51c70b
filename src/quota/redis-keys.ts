import { shortHash } from './keys.js'
import type { Hold } from './ledger.js'

// Every key of the Redis ledger. Nothing of a caller or a report is readable in one (invariant 8).

/** A release that writes something else counts apart. */
const SCHEMA = 'tg1'
const PARTITION = `${SCHEMA}:p:`

/** Reservations by the moment their lease is over. */
export const LEASES = `${SCHEMA}:leases`

export function storedPartition({ partitionKey }: Hold): string {
  return PARTITION + partitionKey
}

/** The partition's key as the ledger's port has it. */
export function partitionOf(stored: string): string {
  return stored.slice(PARTITION.length)
}

/** The id is a capability, so it is hashed like any other text. */
export function storedReservation(id: string): string {
  return `${SCHEMA}:r:${shortHash(id)}`
}

export function storedIdempotencyKey(key: string): string {
  return `${SCHEMA}:i:${shortHash(key)}`
}

/** Processes by when they were last seen, and when one of them last admitted something by its own share; one script has both. */
export const PROCESSES = `${SCHEMA}:{processes}`
export const LAST_LOCAL = `${SCHEMA}:{processes}:local`

/** The slices of a partition, beside its state. */
export function storedSlices({ partitionKey }: Hold): string {
  return `${SCHEMA}:s:${partitionKey}`
}

/** Slices of open windows by the moment at which what they may have admitted is over. */
export const SLICES_DUE = `${SCHEMA}:due`

/** The last turn of a process that takes slices. */
export function storedTurn(owner: string): string {
  return `${SCHEMA}:t:${shortHash(owner)}`
}
