import type { QuotaUnit } from './quota-unit.js'

/** Output tokens alone, of all choices together. Engines report reasoning as part of them. */
export const outputTokens: QuotaUnit = {
  amountToReserve: (estimate) => estimate.outputTokens,
  amountAtEnd: (end) => (end.kind === 'released' ? 0 : end.outputTokens),
}
