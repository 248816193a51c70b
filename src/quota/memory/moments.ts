import { requireMoment } from '../request.js'
import { MAX_EPOCH_MS } from '../windows/timeline.js'

/** What a ledger takes for now. */
export interface Moments {
  /**
   * That of a call, in whole milliseconds, and never earlier than that of a call before: where the wall clock was set
   * back, the moments go on by the clock that cannot be set until it has caught up.
   *
   * @throws RangeError `nowEpochMs` is none
   */
  readonly of: (nowEpochMs: number) => number
  /** For durations. */
  readonly tick: () => number
}

/**
 * How fast they go on while the wall clock is behind. Slower than it, so that it does catch up and the windows of a
 * calendar end again when they should: an hour in 100 hours. As little slower as that takes, since a wait that is told
 * meanwhile ends a hundredth too early.
 */
const PACE_BEHIND = 0.99

/** @param monotonicMs a clock that cannot be set; default: the moments of the calls */
export function createMoments(monotonicMs?: () => number): Moments {
  let latestEpochMs = 0
  const tick = monotonicMs ?? (() => latestEpochMs)
  /** When the wall clock was last not behind, by both clocks. Moved on in small steps, they would lose fractions. */
  let wallEpochMs = -Infinity
  let wallTick = tick()

  return {
    of(nowEpochMs) {
      const givenEpochMs = requireMoment(nowEpochMs)
      const goneOnEpochMs = wallEpochMs + Math.floor((tick() - wallTick) * PACE_BEHIND)
      latestEpochMs = Math.max(givenEpochMs, Math.min(goneOnEpochMs, MAX_EPOCH_MS))
      if (givenEpochMs > goneOnEpochMs) {
        wallEpochMs = givenEpochMs
        wallTick = tick()
      }
      return latestEpochMs
    },
    tick,
  }
}
