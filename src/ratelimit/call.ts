import type { Descriptor } from './rule.js'

/** One call of the rate limit service. */
export interface RateLimitCall {
  readonly domain: string
  readonly descriptors: readonly Descriptor[]
  /** Of the descriptors that bring none; 0 counts as 1. */
  readonly hitsAddend: bigint
}
