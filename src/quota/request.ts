import type { Hold } from './ledger.js'
import { MAX_EPOCH_MS } from './windows/timeline.js'

// What every ledger holds a request against before it changes anything.

/** What holds earlier in the same request ask of the same partition. */
export function askedBefore(holds: readonly Hold[], index: number): number {
  const { partitionKey } = holds[index] as Hold
  let amount = 0
  for (let before = 0; before < index; before += 1) {
    const hold = holds[before] as Hold
    if (hold.partitionKey === partitionKey) amount += hold.amount
  }
  return amount
}

export function requireWhole(name: string, amount: number): number {
  if (Number.isSafeInteger(amount) && amount >= 0) return amount
  throw new RangeError(`${name} ${String(amount)} must be a whole number >= 0 and <= 2^53 - 1`)
}

/** The moment in whole milliseconds. */
export function requireMoment(nowEpochMs: number): number {
  if (nowEpochMs >= 0 && nowEpochMs <= MAX_EPOCH_MS) return Math.floor(nowEpochMs)
  throw new RangeError(
    `nowEpochMs ${String(nowEpochMs)} must be >= 0 and <= ${String(MAX_EPOCH_MS)}`,
  )
}
