/**
 * Money inside Tollgate is whole micro-units (10^-6) of the operator's own currency, which it never learns. The policy
 * writes it in that currency, with at most six decimals.
 */

/** Fifteen digits: a double gives back every decimal text of so many as it was written. */
export const MAX_MICROS = 999_999_999_999_999

const MICRO_DECIMALS = 6

/**
 * An amount of the currency in micro-units, exact: by its shortest decimal spelling, so that no product is rounded.
 * Undefined below 0, beyond `MAX_MICROS` and with more than six decimals.
 */
export function toMicros(amount: number): number | undefined {
  const match = /^(\d{1,9})(?:\.(\d{1,6}))?$/.exec(String(amount))
  if (match?.[1] === undefined) return undefined
  return Number(match[1] + (match[2] ?? '').padEnd(MICRO_DECIMALS, '0'))
}

/** Micro-units as an amount of the currency, with two decimals and as many more as it has: `25.50`, `0.000042`. */
export function formatMicros(micros: number): string {
  const digits = String(micros).padStart(MICRO_DECIMALS + 1, '0')
  const decimals = digits.slice(-MICRO_DECIMALS).replace(/0{1,4}$/, '')
  return `${digits.slice(0, -MICRO_DECIMALS)}.${decimals}`
}
