import type { Debt } from './debt.js'
import type { Window } from '../quota.js'

/**
 * How a window counts over time: pure arithmetic, shared by all partitions of all quotas with that window.
 *
 * Time is cut into cells, numbered upwards. An admission belongs to the cell of its moment, and a cell counts
 * as a whole, from its first admission until it leaves.
 * All moments are whole milliseconds, 0 to `MAX_EPOCH_MS`.
 */
export interface Timeline {
  readonly kind: Window['kind']
  /** The cell of a moment; never falls as time goes on. */
  cellAt(nowEpochMs: number): number
  /** The oldest cell that counts at a moment: it and all after it count, none before it does. */
  oldestCellAt(nowEpochMs: number): number
  /** The first millisecond at which a cell that counts now no longer does; Infinity if time does not end it. */
  leavesAtMs(cell: number): number
  /** Of how many parts of a unit `Debt.carry` counts those that have fallen; 1 where debts fall by whole units. */
  readonly carryParts: number
  /** From when a debt that begins now falls. */
  debtBeginsAtMs(nowEpochMs: number): number
  /** What is left of the debt now, with a limit of `limit` since it was last looked at; undefined if nothing. */
  debtAt(debt: Debt, limit: number, nowEpochMs: number): Debt | undefined
  /** The first millisecond at which the debt, as `debtAt` gave it, is at most `target` (0 or more). */
  debtReachesAtMs(debt: Debt, limit: number, target: number): number
}

/** Moments up to here (year 5138) keep every product of the arithmetic an exact integer. */
export const MAX_EPOCH_MS = 1e14
