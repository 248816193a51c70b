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

/**
 * The shortage that refuses the holds, as a reserve would tell it; undefined as long as whatever is short has anything
 * left.
 *
 * @param seen one per hold, in the same order
 */
export function shortageWhereUsedUp(
  holds: readonly Hold[],
  seen: readonly Seen[],
): Shortage | undefined {
  let short: Shortage | undefined
  let isUsedUp = false
  for (const [index, { quota, amount }] of holds.entries()) {
    const { state, atMs } = seen[index] as Seen
    const [asked, room] = [amount + askedBefore(holds, index), roomIn(state, quota.limit)]
    if (quota.shadow || asked <= room) continue
    isUsedUp ||= room <= 0
    short = longerShortage(short, shortage(quota, state, asked, atMs))
  }
  return isUsedUp ? short : undefined
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
