import { debtAfterLinearFall, linearFallReachesAtMs } from './debt.js'
import type { Timeline } from './timeline.js'

/** Cells per window length: an admission counts for at most 1/64 of the length longer than it has to. */
export const SUB_WINDOWS = 64

/**
 * The last `lengthMs` before each admission (1 ms or more), in 64 sub-windows.
 *
 * A sub-window counts until the length has passed since its end, so 65 count at any moment: two admissions
 * at most `lengthMs` apart are at most 64 sub-windows apart and always count together. Hence in no span of
 * `lengthMs`, wherever it begins, is more than the limit admitted.
 *
 * Sub-windows need not be whole milliseconds: sub-window i is [i * length / 64, (i + 1) * length / 64), and the
 * floor of a quotient of integers below 2^53 is exact in doubles.
 */
export function createSlidingTimeline(lengthMs: number): Timeline {
  const cellAt = (epochMs: number): number => Math.floor((epochMs * SUB_WINDOWS) / lengthMs)
  return {
    kind: 'sliding',
    cellAt,
    oldestCellAt: (nowEpochMs) => cellAt(nowEpochMs) - SUB_WINDOWS,
    leavesAtMs: (cell) => Math.ceil(((cell + SUB_WINDOWS + 1) * lengthMs) / SUB_WINDOWS),
    carryParts: lengthMs,
    debtBeginsAtMs: (nowEpochMs) => nowEpochMs,
    debtAt: (debt, limit, nowEpochMs) => debtAfterLinearFall(debt, limit, lengthMs, nowEpochMs),
    debtReachesAtMs: (debt, limit, target) => linearFallReachesAtMs(debt, limit, lengthMs, target),
  }
}
