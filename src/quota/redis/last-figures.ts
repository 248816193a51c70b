import { roomIn } from '../balance.js'
import type { Hold } from '../ledger.js'
import { stateFrom } from './replies.js'
import type { Figures } from './replies.js'
import type { Timeline } from '../windows/timeline.js'
import { advance, CELL_FIELDS } from '../windows/window-state.js'
import type { WindowState } from '../windows/window-state.js'

/** What the last answers of a shared store said of partitions, for a moment: other processes change them too. */
export interface LastFigures {
  put(hold: Hold, timeline: Timeline, figures: Figures, atEpochMs: number): void
  /**
   * Where the partition stands if nothing has happened since; `unknown` if it was not told lately, or under
   * another window, or if the hold's amount does not fit and it was not told when it will. `undefined` is a partition
   * that was never used.
   */
  look(hold: Hold, timeline: Timeline, nowEpochMs: number): WindowState | undefined | 'unknown'
  clear(): void
}

const MAX_PARTITIONS = 10_000
/** What was told is not believed for longer. */
export const BELIEVED_MS = 1000
/** In an open window the end of any request makes room. */
const OPEN_BELIEVED_MS = 100

interface Last {
  readonly timeline: Timeline
  readonly figures: Figures
  readonly atEpochMs: number
  readonly believedUntilMonotonicMs: number
}

export function createLastFigures(monotonicMs: () => number): LastFigures {
  const last = new Map<string, Last>()
  return {
    put({ partitionKey }, timeline, figures, atEpochMs) {
      const forMs = timeline.kind === 'open' ? OPEN_BELIEVED_MS : BELIEVED_MS
      last.delete(partitionKey)
      last.set(partitionKey, {
        timeline,
        figures,
        atEpochMs,
        believedUntilMonotonicMs: monotonicMs() + forMs,
      })
      if (last.size <= MAX_PARTITIONS) return
      const [oldest] = last.keys()
      if (oldest !== undefined) last.delete(oldest)
    },
    look(hold, timeline, nowEpochMs) {
      const told = last.get(hold.partitionKey)
      if (told === undefined || told.timeline !== timeline) return 'unknown'
      if (monotonicMs() > told.believedUntilMonotonicMs) return 'unknown'
      const state = stateFrom(told.figures, hold, timeline)
      if (state === undefined) return undefined
      // Told to a request that had room, since it held less or had a higher limit: what leaves when is not known.
      if (hold.amount > roomIn(state, hold.quota.limit) && !hasAllCells(state)) return 'unknown'
      advance(state, Math.max(nowEpochMs, told.atEpochMs))
      return state
    },
    clear() {
      last.clear()
    },
  }
}

/** The newest alone is told where there is room (`lua/common/partitions.lua`). */
function hasAllCells({ cells, spent, reserved }: WindowState): boolean {
  let missing = spent + reserved
  for (const [at, figure] of cells.entries()) if (at % CELL_FIELDS > 0) missing -= figure
  return missing === 0
}
