import type { QuotaUnit } from './quota-unit.js'

/** Input and output tokens, one as dear as the other. */
export const tokens: QuotaUnit = {
  amountToReserve: ({ inputTokens, outputTokens }) => sum(inputTokens, outputTokens),
  amountAtEnd: (end) => (end.kind === 'released' ? 0 : sum(end.inputTokens, end.outputTokens)),
}

/** Two whole numbers can add up to one that a double cannot hold; the largest that it can is the answer then. */
function sum(inputTokens: number, outputTokens: number): number {
  return Math.min(Number.MAX_SAFE_INTEGER, inputTokens + outputTokens)
}
