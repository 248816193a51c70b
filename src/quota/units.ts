import type { End } from './end.js'
import { cost } from './units/cost.js'
import { inFlight } from './units/in-flight.js'
import { inputTokens } from './units/input-tokens.js'
import { outputTokens } from './units/output-tokens.js'
import type { Estimate, QuotaUnit } from './units/quota-unit.js'
import { requests } from './units/requests.js'
import { tokens } from './units/tokens.js'

export type { Estimate } from './units/quota-unit.js'

/** Every unit a quota can have. A new one is a file in `units/` and a line here. */
export const quotaUnits = {
  tokens,
  input_tokens: inputTokens,
  output_tokens: outputTokens,
  requests,
  in_flight: inFlight,
  cost,
} as const satisfies Record<string, QuotaUnit>

/** The name of a unit, as the policy file spells it. */
export type QuotaUnitName = keyof typeof quotaUnits

/** Every name, in the order in which messages list them. */
export const quotaUnitNames = Object.keys(quotaUnits) as readonly QuotaUnitName[]

/** What a request holds of a quota of this unit at admission. Whole units, 0 to 2^53 - 1. */
export function amountToReserve(unit: QuotaUnitName, estimate: Estimate): number {
  return quotaUnits[unit].amountToReserve(estimate)
}

/**
 * What a request came to in this unit. Whole units, 0 to 2^53 - 1; may be more than it held. Undefined: nobody knows,
 * so it came to what it held.
 */
export function amountAtEnd(unit: QuotaUnitName, end: End): number | undefined {
  return quotaUnits[unit].amountAtEnd(end)
}

/** An amount of this unit as people read it: money in its currency. Reads as a number. */
export function formatAmount(unit: QuotaUnitName, amount: number): string {
  return quotaUnits[unit].format?.(amount) ?? String(amount)
}
