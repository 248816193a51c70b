/**
 * How a reservation ends (docs/design.md). `unsettled` is not among them: the ledger itself says
 * so when a lease runs out. Tokens are whole, 0 to 2^53 - 1.
 */
export type End =
  | { readonly kind: 'settled'; readonly inputTokens: number; readonly outputTokens: number }
  | { readonly kind: 'estimated'; readonly inputTokens: number; readonly outputTokens: number }
  | { readonly kind: 'released' }
