import { saturated } from '../../units.js'
import type { QuotaUnit } from './quota-unit.js'

/** Input and output tokens, one as dear as the other. */
export const tokens: QuotaUnit = {
  amountToReserve: ({ inputTokens, outputTokens }) => saturated(inputTokens + outputTokens),
  amountAtEnd: (end) =>
    end.kind === 'released' ? 0 : saturated(end.inputTokens + end.outputTokens),
}
