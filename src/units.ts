/** Milliseconds are the one unit of time inside Tollgate; seconds exist only at wires that want them. */
export const SECOND_MS = 1000
export const MINUTE_MS = 60 * SECOND_MS
export const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS

export const KIB_BYTES = 1024
export const MIB_BYTES = 1024 * KIB_BYTES

/** Whole seconds that cover `durationMs`: what `Retry-After` needs (RFC 9110 §10.2.3), at least 1. */
export function ceilSeconds(durationMs: number): number {
  return Math.max(1, Math.ceil(durationMs / SECOND_MS))
}

/** A whole number as far as a double can hold it: what is beyond is the largest that it can. */
export function saturated(amount: number): number {
  return Math.min(Number.MAX_SAFE_INTEGER, amount)
}
