import type { QuotaUnitName } from './units.js'

export type { QuotaUnitName } from './units.js'

/** What a quota may be counted by. */
export type PartitionDimension = 'tenant' | 'subject' | 'client' | 'model' | 'group'

export type CalendarPeriod = 'minute' | 'hour' | 'day' | 'month'

/**
 * Over what time a quota counts.
 * - `sliding`: the last `lengthMs` before each admission, never more than the limit in any such span.
 * - `calendar`: from boundary to boundary in an IANA time zone.
 * - `open`: no time at all; only for `in_flight`, which is freed by the end of the request.
 */
export type Window =
  | { readonly kind: 'sliding'; readonly lengthMs: number }
  | { readonly kind: 'calendar'; readonly period: CalendarPeriod; readonly timeZone: string }
  | { readonly kind: 'open' }

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
  /** Processes may take slices of it ahead of requests (`sliced-ledger.ts`). */
  readonly slices?: boolean
}
