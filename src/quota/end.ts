/**
 * How a reservation ends (docs/design.md). `unsettled` is not among them: the ledger itself says
 * so when a lease runs out. Tokens are whole, 0 to 2^53 - 1.
 */
export type End =
  | ({ readonly kind: 'settled' } & Used)
  | ({ readonly kind: 'estimated' } & Used)
  | { readonly kind: 'released' }

interface Used {
  readonly inputTokens: number
  readonly outputTokens: number
  /** By the prices as of the admission; undefined where there were none. Whole micro-units, 0 to 2^53 - 1. */
  readonly costMicros?: number
}
