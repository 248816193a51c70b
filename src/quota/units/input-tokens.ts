import type { QuotaUnit } from './quota-unit.js'

/** Input tokens alone, cached ones among them: the model has to hold them all. */
export const inputTokens: QuotaUnit = {
  amountToReserve: (estimate) => estimate.inputTokens,
  amountAtEnd: (end) => (end.kind === 'released' ? 0 : end.inputTokens),
}
