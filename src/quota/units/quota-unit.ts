import type { Prices } from '../../prices.js'
import type { End } from '../end.js'

/** What a request is expected to use, known at admission. Whole tokens, 0 to 2^53 - 1. */
export interface Estimate {
  readonly inputTokens: number
  /** For all choices together. */
  readonly outputTokens: number
  /** Of the model; undefined where the policy names none. */
  readonly prices?: Prices | undefined
}

/** What a quota counts: how much of it a request holds at admission, and how much it came to. */
export interface QuotaUnit {
  /** Whole units, 0 to 2^53 - 1. */
  amountToReserve(estimate: Estimate): number
  /** Whole units, 0 to 2^53 - 1; may be more than was reserved. Undefined: nobody knows, so it is what was reserved. */
  amountAtEnd(end: End): number | undefined
  /** An amount as people read it, where that is not the whole number itself. */
  readonly format?: (amount: number) => string
}
