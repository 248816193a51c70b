import { formatMicros } from '../../money.js'
import { mostCostMicros } from '../../prices.js'
import type { QuotaUnit } from './quota-unit.js'

/** What a request costs by the model's prices as of its admission, in micro-units of the operator's currency. */
export const cost: QuotaUnit = {
  // What has no price fits into no budget; the rules of the policy let no such model come this far.
  amountToReserve: ({ inputTokens, outputTokens, prices }) =>
    prices === undefined
      ? Number.MAX_SAFE_INTEGER
      : mostCostMicros(prices, inputTokens, outputTokens),
  amountAtEnd: (end) => (end.kind === 'released' ? 0 : end.costMicros),
  format: formatMicros,
}
