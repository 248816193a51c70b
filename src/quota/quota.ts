import type { QuotaUnitName } from './units.js'

export type { QuotaUnitName } from './units.js'

/** What a quota may be counted by, a claim apart. */
export const plainDimensions = [
  'tenant',
  'subject',
  'client',
  'model',
  'group',
  'pool',
  'route',
  'spiffe',
  'api_key',
] as const

/** What a quota may be counted by; a claim by its name, as `claim:department`. */
export type PartitionDimension = (typeof plainDimensions)[number] | `claim:${string}`

const CLAIM = 'claim:'

/** The claim of a dimension that is one. */
export function claimOf(dimension: PartitionDimension): string | undefined {
  return dimension.startsWith(CLAIM) ? dimension.slice(CLAIM.length) : undefined
}

export const calendarPeriods = ['minute', 'hour', 'day', 'week', 'month', 'year'] as const

export type CalendarPeriod = (typeof calendarPeriods)[number]

/**
 * Over what time a quota counts.
 * - `sliding`: the last `lengthMs` before each admission, never more than the limit in any such span.
 * - `calendar`: from boundary to boundary in an IANA time zone.
 * - `fixed`: from multiple to multiple of `lengthMs` since 1970, as envoyproxy/ratelimit counts.
 * - `open`: no time at all; only for `in_flight`, which is freed by the end of the request.
 */
export type Window =
  | { readonly kind: 'sliding'; readonly lengthMs: number }
  | { readonly kind: 'calendar'; readonly period: CalendarPeriod; readonly timeZone: string }
  | { readonly kind: 'fixed'; readonly lengthMs: number }
  | { readonly kind: 'open' }

/**
 * What a quota says when its store fails: the request is refused, held to this process's share of the limit, or let
 * pass without being counted.
 */
export const storeFailureAnswers = ['deny', 'local', 'allow'] as const
export type OnStoreFailure = (typeof storeFailureAnswers)[number]

/** What the quota says of its store's failure. */
export function answerOf({ onStoreFailure = 'deny' }: Quota): OnStoreFailure {
  return onStoreFailure
}

/** May a request pass that this quota could not be asked about? */
export function mayPass(quota: Quota): boolean {
  return quota.shadow || answerOf(quota) === 'allow'
}

/** Does it refuse a request that it could not be asked about? One of `local` asks the share of the process. */
export function deniesUnasked(quota: Quota): boolean {
  return !quota.shadow && answerOf(quota) === 'deny'
}

/** All slices of a partition together are at most this part of its limit (`lua/turn.lua`). */
export const SLICED_PART = 10

/** Capacity: at most `limit` units per window for each partition. */
export interface Quota {
  readonly name: string
  readonly unit: QuotaUnitName
  /** Whole units, 1 to 2^53 - 1. */
  readonly limit: number
  readonly window: Window
  readonly by: readonly PartitionDimension[]
  /** With `group` in `by`: the caller counts in the first of these that it is in, else in `none`. */
  readonly groups: readonly string[]
  /** Name patterns of the models it binds; empty: all of them. */
  readonly models: readonly string[]
  /** Reserved, settled and shown, but never refuses. */
  readonly shadow: boolean
  /** Absent, as in what an older release stored: `deny`. */
  readonly onStoreFailure?: OnStoreFailure
  /** The limit came with the credential: it is told to its caller, and in no log, metric or record. */
  readonly limitCarried?: boolean
  /** Processes may take slices of it ahead of requests (`sliced-ledger.ts`). */
  readonly slices?: boolean
}

/**
 * May a caller know where it stands? What is left of a partition that other tenants share would tell what they
 * spend, and a shadow quota refuses nobody.
 */
export function isTold({ shadow, by }: Quota): boolean {
  return !shadow && by.includes('tenant')
}
