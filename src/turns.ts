import type { Clock } from './clock.js'

/**
 * Turns of the event loop, for pieces of work that come together: each may take a moment, and all of them in one turn
 * would keep whatever else comes waiting for as long as they take together.
 */
export interface Turns {
  /** Over when the work may begin: at once as long as this turn has time left, else in a later one, in order. */
  mine(): Promise<void>
}

export interface TurnsOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** Runs something in the next turn of the event loop, after what has come is read. */
  readonly next?: (run: () => void) => void
}

/** After so long no further piece begins in a turn. */
const LONG_ENOUGH_MS = 2

export function createTurns({ clock, next = setImmediate }: TurnsOptions): Turns {
  const waiting: (() => void)[] = []
  let beganMs: number | undefined

  function begin(): void {
    beganMs = clock.monotonicMs()
    next(() => {
      beganMs = undefined
      const first = waiting.shift()
      if (first === undefined) return
      // One alone: its work runs when this function is over, so how long it takes is not known here.
      begin()
      first()
    })
  }

  return {
    async mine() {
      if (beganMs === undefined) begin()
      else if (waiting.length > 0 || clock.monotonicMs() - beganMs >= LONG_ENOUGH_MS) {
        await new Promise<void>((resolve) => waiting.push(resolve))
      }
    },
  }
}
