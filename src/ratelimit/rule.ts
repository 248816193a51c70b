/**
 * What a rate limit file says, once it was read: envoyproxy/ratelimit's own terms. A domain is a tree of
 * descriptors; the rule of a request's descriptor stands where its last entry ends.
 */

/** A unit of envoyproxy/ratelimit with its length. Windows are aligned to the Unix epoch; a month has 30 days, a year 365. */
export const unitSeconds = {
  second: 1,
  minute: 60,
  hour: 3600,
  day: 86_400,
  week: 604_800,
  month: 2_592_000,
  year: 31_536_000,
} as const

export type RateLimitUnit = keyof typeof unitSeconds

/** So many hits in each unit of time. */
export interface RateLimit {
  /** 0 to 2^32 - 1; 0 refuses every hit. */
  readonly requestsPerUnit: number
  readonly unit: RateLimitUnit
}

/** The `rate_limit` of one descriptor in a file. */
export interface RateLimitRule {
  /** Told in `current_limit.name`, and named by the `replaces` of others; empty if the file gives none. */
  readonly name: string
  /** Undefined: `unlimited`, which is never counted. */
  readonly limit: RateLimit | undefined
  /** Names of rules that are not counted in a request in which this one matches. */
  readonly replaces: readonly string[]
  /** Counts, and says OK. */
  readonly shadowMode: boolean
  /** Is over in its own status; the whole request only when all such rules of the request are. */
  readonly quotaMode: boolean
  /** Told as dynamic metadata where that is switched on; undefined: the file gives none. */
  readonly metadata: Readonly<Record<string, unknown>> | undefined
}

export interface Entry {
  readonly key: string
  readonly value: string
}

/** One descriptor of a request. */
export interface Descriptor {
  readonly entries: readonly Entry[]
  /** A limit that the request brings; it replaces the file's, if the domain is known. */
  readonly limit: RateLimit | undefined
  /** Undefined: the request's own. 0 asks without counting. Up to 2^64 - 1. */
  readonly hitsAddend: bigint | undefined
  /** The addend is given back. */
  readonly isNegativeHits: boolean
}

/** The rule that holds for a descriptor. */
export interface Match {
  readonly rule: RateLimitRule
  /** What its counter is of: the descriptor's entries, with the pattern in place of a value where it is shared. */
  readonly counted: readonly Entry[]
  /** Under which name it is measured: bounded by the file unless that asks for values of the request. */
  readonly metricKey: string
}
