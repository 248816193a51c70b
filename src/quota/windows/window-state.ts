import { saturated } from '../../units.js'
import type { Debt } from './debt.js'
import { carryInParts } from './debt.js'
import type { Queued } from '../deadline-queue.js'
import type { Timeline } from './timeline.js'

/**
 * What one partition of one quota has spent and reserved. Plain data without closures: there may be a million.
 * Every function that reads figures brings the state up to date first (`advance`).
 */
export interface WindowState extends Queued {
  readonly partitionKey: string
  readonly timeline: Timeline
  /** The limit of the latest admission that was tried; the debt falls by it. */
  limit: number
  /** The cells that count and hold anything, oldest first, flat: number, spent, reserved, number, ... */
  readonly cells: number[]
  /** Sums over `cells`; whole units, together at most 2^53 - 1. */
  spent: number
  reserved: number
  debt: Debt | undefined
  /** Remembered reservations that count here or may still become debt here. */
  holders: number
  /** Where everything went when the quota's window changed. */
  moved: Move | undefined
}

interface Move {
  readonly to: WindowState
  /** The oldest cell that counted when it moved; older ones were not taken along. */
  readonly oldestCell: number
  /** The one cell of `to` that what counted is in. */
  readonly cell: number
}

/** Where a reservation counts. */
export interface Placement {
  readonly state: WindowState
  readonly cell: number
  /** What it counts with: the amount, or what of it keeps the sums of a shadow quota exact. */
  readonly counted: number
}

/** A cell's number, what is spent in it, and what is reserved. */
export const CELL_FIELDS = 3

export function createWindowState(
  partitionKey: string,
  timeline: Timeline,
  limit: number,
): WindowState {
  return {
    partitionKey,
    timeline,
    limit,
    cells: [],
    spent: 0,
    reserved: 0,
    debt: undefined,
    holders: 0,
    moved: undefined,
    queuePosition: -1,
  }
}

/** Forgets the cells that have left and what of the debt has fallen. O(cells), at most 65. */
export function advance(state: WindowState, nowEpochMs: number): void {
  const { cells, timeline } = state
  const oldest = timeline.oldestCellAt(nowEpochMs)
  let left = 0
  while (left < cells.length && (cells[left] as number) < oldest) {
    state.spent -= cells[left + 1] as number
    state.reserved -= cells[left + 2] as number
    left += CELL_FIELDS
  }
  if (left > 0) {
    cells.copyWithin(0, left)
    cells.length -= left
  }
  if (state.debt !== undefined) {
    state.debt = timeline.debtAt(state.debt, state.limit, nowEpochMs)
  }
}

/** Reserves in the cell of now. The state is up to date, and no later moment was reserved in. */
export function place(state: WindowState, amount: number, nowEpochMs: number): Placement {
  const counted = Math.min(amount, Number.MAX_SAFE_INTEGER - state.spent - state.reserved)
  const cell = state.timeline.cellAt(nowEpochMs)
  const { cells } = state
  const last = cells.length - CELL_FIELDS
  if (last >= 0 && cells[last] === cell) cells[last + 2] = (cells[last + 2] as number) + counted
  else cells.push(cell, 0, counted)
  state.reserved += counted
  state.holders += 1
  return { state, cell, counted }
}

/** What a reservation's end changes where it counts. Only as long as its cell counts. */
export interface Change {
  readonly spent: number
  readonly reserved: number
}

/** Changes the figures of a placement, wherever it has moved, if it still counts at all. */
export function change(placement: Placement, by: Change, nowEpochMs: number): void {
  const { state, cell } = locate(placement)
  advance(state, nowEpochMs)
  const { cells } = state
  for (let at = cells.length - CELL_FIELDS; at >= 0; at -= CELL_FIELDS) {
    if (cells[at] !== cell) continue
    cells[at + 1] = (cells[at + 1] as number) + by.spent
    cells[at + 2] = (cells[at + 2] as number) + by.reserved
    state.spent += by.spent
    state.reserved += by.reserved
    return
  }
}

/** Adds to the debt of the partition that the placement belongs to. The state is up to date. */
export function addDebt(placement: Placement, amount: number, nowEpochMs: number): void {
  const { state } = locate(placement)
  const { debt, timeline } = state
  state.debt = {
    amount: saturated((debt?.amount ?? 0) + amount),
    carry: debt?.carry ?? 0,
    sinceEpochMs: debt?.sinceEpochMs ?? timeline.debtBeginsAtMs(nowEpochMs),
  }
}

/** The state that the placement belongs to now, and its cell there; a cell of -1 counts no more. */
export function locate(placement: Placement): { state: WindowState; cell: number } {
  let { state, cell } = placement
  while (state.moved !== undefined) {
    cell = cell >= state.moved.oldestCell ? state.moved.cell : -1
    state = state.moved.to
  }
  return { state, cell }
}

/**
 * The state as another window sees it: whatever counts now counts as if admitted now, since nobody knows
 * better when it was. That errs towards refusing, for at most one window length after the last change: while two
 * policies decide in turn (docs/design.md), a sliding window forgets nothing. What the old window had forgotten already
 * stays forgotten. The debt stays and falls at the new pace. The given state is up to date.
 */
export function underWindow(
  state: WindowState,
  timeline: Timeline,
  nowEpochMs: number,
): WindowState {
  const { spent, reserved, debt } = state
  const cell = timeline.cellAt(nowEpochMs)
  return {
    ...createWindowState(state.partitionKey, timeline, state.limit),
    cells: spent + reserved === 0 ? [] : [cell, spent, reserved],
    spent,
    reserved,
    debt: debt && {
      amount: debt.amount,
      carry: carryInParts(debt.carry, state.timeline.carryParts, timeline.carryParts),
      sinceEpochMs: timeline.debtBeginsAtMs(nowEpochMs),
    },
    holders: state.holders,
  }
}

/** Replaces the state by what `underWindow` made of it, for every reservation that counts in it. */
export function move(from: WindowState, to: WindowState, nowEpochMs: number): void {
  from.moved = {
    to,
    oldestCell: from.timeline.oldestCellAt(nowEpochMs),
    cell: to.timeline.cellAt(nowEpochMs),
  }
}

/** The first moment at which the partition is as if it had never been used, if nothing more happens. */
export function clearsAtMs(state: WindowState, limit: number, nowEpochMs: number): number {
  const { cells, debt, timeline } = state
  let clearMs = nowEpochMs
  for (let at = cells.length - CELL_FIELDS; at >= 0; at -= CELL_FIELDS) {
    if (cells[at + 1] === 0 && cells[at + 2] === 0) continue
    clearMs = timeline.leavesAtMs(cells[at] as number)
    break
  }
  if (debt !== undefined) {
    clearMs = Math.max(clearMs, timeline.debtReachesAtMs(debt, limit, 0))
  }
  return clearMs
}

/**
 * The first moment, now or later, at which `amount` (at most `limit`) fits if nothing more happens: cells leave
 * one by one while the debt falls. The state is up to date.
 */
export function fitsAtMs(
  state: WindowState,
  limit: number,
  amount: number,
  nowEpochMs: number,
): number {
  const { cells, debt, timeline } = state
  let used = state.spent + state.reserved
  let atMs = nowEpochMs
  for (let cell = 0; cell < cells.length; cell += CELL_FIELDS) {
    const leavesMs = timeline.leavesAtMs(cells[cell] as number)
    const room = limit - amount - used
    if (room >= 0) {
      const debtMs = debt === undefined ? atMs : timeline.debtReachesAtMs(debt, limit, room)
      if (debtMs < leavesMs) return Math.max(atMs, debtMs)
    }
    used -= (cells[cell + 1] as number) + (cells[cell + 2] as number)
    atMs = leavesMs
  }
  if (debt === undefined) return atMs
  return Math.max(atMs, timeline.debtReachesAtMs(debt, limit, limit - amount))
}
