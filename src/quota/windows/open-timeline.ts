import type { Timeline } from './timeline.js'

/** No time at all: one cell that never leaves, so only the end of a request frees what it held. No debt. */
export const openTimeline: Timeline = {
  kind: 'open',
  cellAt: () => 0,
  oldestCellAt: () => 0,
  leavesAtMs: () => Infinity,
  carryParts: 1,
  debtBeginsAtMs: (nowEpochMs) => nowEpochMs,
  debtAt: () => undefined,
  debtReachesAtMs: (debt) => debt.sinceEpochMs,
}
