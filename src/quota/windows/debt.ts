/**
 * What actual usage exceeded its reservations by (invariant 3): counted once, in no window, and
 * falling by the limit per window length.
 */
export interface Debt {
  /** Whole units that stood at `sinceEpochMs`, 1 to 2^53 - 1. */
  readonly amount: number
  /** What has fallen beyond whole units, in fractions of 1 / window length; 0 for calendar windows. */
  readonly carry: number
  readonly sinceEpochMs: number
}

/**
 * The debt of a sliding window at `nowEpochMs`, falling linearly by `limit` per `lengthMs`; undefined once
 * nothing is left. Exact: the fraction of a unit is carried on, so that asking often changes nothing.
 */
export function debtAfterLinearFall(
  debt: Debt,
  limit: number,
  lengthMs: number,
  nowEpochMs: number,
): Debt | undefined {
  const elapsedMs = nowEpochMs - debt.sinceEpochMs
  const total = limit * elapsedMs + debt.carry
  let fallen: number
  let carry: number
  if (total <= Number.MAX_SAFE_INTEGER) {
    fallen = Math.floor(total / lengthMs)
    carry = total - fallen * lengthMs
  } else {
    const exact = BigInt(limit) * BigInt(elapsedMs) + BigInt(debt.carry)
    fallen = Number(exact / BigInt(lengthMs))
    carry = Number(exact % BigInt(lengthMs))
  }
  if (fallen >= debt.amount) return undefined
  return { amount: debt.amount - fallen, carry, sinceEpochMs: nowEpochMs }
}

/** What has fallen beyond whole units, in parts of another number; rounded down, so that no debt falls too early. */
export function carryInParts(carry: number, fromParts: number, toParts: number): number {
  const product = carry * toParts
  if (product <= Number.MAX_SAFE_INTEGER) return Math.floor(product / fromParts)
  return Number((BigInt(carry) * BigInt(toParts)) / BigInt(fromParts))
}

/** The first millisecond at which a linearly falling debt is at most `target` (0 or more). */
export function linearFallReachesAtMs(
  debt: Debt,
  limit: number,
  lengthMs: number,
  target: number,
): number {
  const toFall = debt.amount - target
  if (toFall <= 0) return debt.sinceEpochMs
  const total = toFall * lengthMs
  if (total <= Number.MAX_SAFE_INTEGER) {
    return debt.sinceEpochMs + Math.ceil((total - debt.carry) / limit)
  }
  const exact = BigInt(toFall) * BigInt(lengthMs) - BigInt(debt.carry)
  const divisor = BigInt(limit)
  return debt.sinceEpochMs + Number((exact + divisor - 1n) / divisor)
}
