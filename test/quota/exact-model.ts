import type { Hold } from '../../src/quota/ledger.js'
import type { Quota } from '../../src/quota/quota.js'

/**
 * Invariant 3, said as plainly as it can be: a list of everything that ever happened, from which every figure is
 * computed anew. Nothing is ever forgotten, no sum is kept, and fractions are exact (BigInt).
 */
export interface ModelHold extends Hold {
  readonly admittedMs: number
  /** What it counts with: its amount while it is open or unsettled, at most its amount after its end. */
  counts: number
  open: boolean
}

type DebtEvent =
  | { readonly atMs: number; readonly kind: 'owed'; readonly amount: number }
  | { readonly atMs: number; readonly kind: 'limit'; readonly limit: number }

/** How many windows of a calendar or fixed quota begin after `fromMs`, up to and with `toMs`. */
export type CountBoundaries = (quota: Quota, fromMs: number, toMs: number) => number

export function createExactModel(countBoundaries: CountBoundaries) {
  const holds: ModelHold[] = []
  const events = new Map<string, DebtEvent[]>()

  function record(partitionKey: string, event: DebtEvent): void {
    events.set(partitionKey, [...(events.get(partitionKey) ?? []), event])
  }

  function counts(hold: ModelHold, nowMs: number): boolean {
    const { window } = hold.quota
    switch (window.kind) {
      case 'open':
        return hold.open
      case 'sliding': {
        const cell = (ms: number): bigint => (BigInt(ms) * 64n) / BigInt(window.lengthMs)
        return cell(nowMs) - cell(hold.admittedMs) <= 64n
      }
      case 'calendar':
      case 'fixed':
        return countBoundaries(hold.quota, hold.admittedMs, nowMs) === 0
    }
  }

  function used(partitionKey: string, nowMs: number): { spent: number; reserved: number } {
    let spent = 0
    let reserved = 0
    for (const hold of holds) {
      if (hold.partitionKey !== partitionKey || !counts(hold, nowMs)) continue
      if (hold.open) reserved += hold.counts
      else if (hold.quota.window.kind !== 'open') spent += hold.counts
    }
    return { spent, reserved }
  }

  /** What is owed `waitMs` from now, if nothing happens until then but that the quota's own limit is followed. */
  function debt(quota: Quota, partitionKey: string, nowMs: number, waitMs = 0): number {
    const { window } = quota
    if (window.kind === 'open') return 0
    // In units of 1 / scale, so that every fall is a whole number.
    const scale = window.kind === 'sliding' ? BigInt(window.lengthMs) : 1n
    const fallen = (limit: number, fromMs: number, toMs: number): bigint =>
      window.kind === 'sliding'
        ? BigInt(limit) * BigInt(toMs - fromMs)
        : BigInt(limit) * BigInt(countBoundaries(quota, fromMs, toMs))
    let owed = 0n
    let sinceMs = 0
    let limit = 1
    const fall = (toMs: number, by: number): void => {
      owed -= fallen(by, sinceMs, toMs)
      if (owed < 0n) owed = 0n
      sinceMs = toMs
    }
    for (const event of events.get(partitionKey) ?? []) {
      fall(event.atMs, limit)
      if (event.kind === 'owed') owed += BigInt(event.amount) * scale
      else limit = event.limit
    }
    fall(nowMs, limit)
    fall(nowMs + waitMs, quota.limit)
    return Number((owed + scale - 1n) / scale)
  }

  return {
    record,
    used,
    debt,

    /** Room under the hold's limit `waitMs` from now, if nothing happens until then. */
    room(hold: Hold, nowMs: number, waitMs = 0): number {
      const { spent, reserved } = used(hold.partitionKey, nowMs + waitMs)
      const owed = debt(hold.quota, hold.partitionKey, nowMs, waitMs)
      return hold.quota.limit - spent - reserved - owed
    },

    admit(newHolds: readonly Hold[], nowMs: number): ModelHold[] {
      const admitted = newHolds.map((hold) => ({
        ...hold,
        admittedMs: nowMs,
        counts: hold.amount,
        open: true,
      }))
      holds.push(...admitted)
      return admitted
    },
  }
}
