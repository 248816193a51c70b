import type { Balance, Hold, Short } from './ledger.js'
import type { Quota } from './quota.js'
import { askedBefore } from './request.js'
import type { WindowState } from './windows/window-state.js'
import { clearsAtMs, fitsAtMs } from './windows/window-state.js'

/** When to ask again for something that any other request's end may free at any moment. */
export const OPEN_RETRY_MS = 1000

/** Units that are left under the limit: at most `limit`; below 0 after a limit was lowered or in shadow. */
export function roomIn(state: WindowState | undefined, limit: number): number {
  if (state === undefined) return limit
  return limit - state.spent - state.reserved - (state.debt?.amount ?? 0)
}

/** Where the hold's partition stands; `state` is up to date and under the hold's own window, or undefined. */
export function balanceOf(hold: Hold, state: WindowState | undefined, nowEpochMs: number): Balance {
  const { quota, partitionKey } = hold
  return {
    quota,
    partitionKey,
    spent: state?.spent ?? 0,
    reserved: state?.reserved ?? 0,
    debt: state?.debt?.amount ?? 0,
    remaining: Math.max(0, roomIn(state, quota.limit)),
    resetMs:
      state === undefined ? 0 : finite(clearsAtMs(state, quota.limit, nowEpochMs) - nowEpochMs),
  }
}

/** A quota that does not have what is asked of it. */
export type Shortage = Omit<Short, 'balances'>

/** The shortage of `amount` in the partition; the wait is at least 1 ms, undefined if it never fits. */
export function shortage(
  quota: Quota,
  state: WindowState | undefined,
  amount: number,
  nowEpochMs: number,
): Shortage {
  return {
    kind: 'short',
    quota,
    retryAfterMs: retryAfterMs(quota.limit, state, amount, nowEpochMs),
  }
}

/** Where a hold's partition stood, and when, by the clock of whoever keeps it. */
export interface Seen {
  readonly state: WindowState | undefined
  readonly atMs: number
}

/** A hold that does not fit. */
export interface ShortHold {
  readonly quota: Quota
  /** With what the holds before it take of the same partition. */
  readonly asked: number
  readonly at: Seen
}

/**
 * The holds that do not fit, those of shadow quotas too.
 *
 * @param seen one per hold, in the same order
 */
export function shortHolds(holds: readonly Hold[], seen: readonly Seen[]): readonly ShortHold[] {
  return holds.flatMap(({ quota, amount }, index) => {
    const [asked, at] = [amount + askedBefore(holds, index), seen[index]]
    return at === undefined || asked <= roomIn(at.state, quota.limit) ? [] : [{ quota, asked, at }]
  })
}

/** The shortage that refuses a request; undefined where no quota does that may. */
export function longestShortage(shorts: readonly ShortHold[]): Shortage | undefined {
  let longest: Shortage | undefined
  for (const { quota, asked, at } of shorts) {
    if (quota.shadow) continue
    longest = longerShortage(longest, shortage(quota, at.state, asked, at.atMs))
  }
  return longest
}

/** The same, as long as one of them has nothing left. */
export function shortageWhereUsedUp(shorts: readonly ShortHold[]): Shortage | undefined {
  const isUsedUp = shorts.some(
    ({ quota, at }) => !quota.shadow && roomIn(at.state, quota.limit) <= 0,
  )
  return isUsedUp ? longestShortage(shorts) : undefined
}

/** Of two shortages the one that lasts longer, since a request needs all its holds; the first if they are equal. */
export function longerShortage(first: Shortage | undefined, second: Shortage): Shortage {
  if (first === undefined) return second
  const firstMs = first.retryAfterMs ?? Infinity
  const secondMs = second.retryAfterMs ?? Infinity
  return secondMs > firstMs ? second : first
}

function retryAfterMs(
  limit: number,
  state: WindowState | undefined,
  amount: number,
  nowEpochMs: number,
): number | undefined {
  if (amount > limit) return undefined
  if (state === undefined) return 1
  return Math.max(1, finite(fitsAtMs(state, limit, amount, nowEpochMs) - nowEpochMs))
}

/** Time alone frees nothing in an open window. */
function finite(durationMs: number): number {
  return durationMs === Infinity ? OPEN_RETRY_MS : durationMs
}
