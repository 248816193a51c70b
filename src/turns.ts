import type { Clock } from './clock.js'

/**
 * Turns of the event loop, for pieces of work that come together: each may take a moment, and all of them in one turn
 * would keep whatever else comes waiting for as long as they take together.
 */
export interface Turns {
  /**
   * Over when the work may begin: at once as long as this turn has time left, else in a later one, in order.
   *
   * @param signal fires where the work is given up: that takes no time of others
   */
  mine(signal: AbortSignal): Promise<void>
}

export interface TurnsOptions {
  readonly clock: Pick<Clock, 'monotonicMs'>
  /** Runs something in the next turn of the event loop, and what it makes possible before what is asked for after it. */
  readonly next?: (run: () => void) => void
}

interface Waiting {
  readonly signal: AbortSignal
  readonly begin: () => void
}

/** After so long no further piece begins in a turn. */
const LONG_ENOUGH_MS = 2
/** One alone in each turn would cost small ones a fifth more: each turn asks the kernel what has come. */
const MOST_IN_TURN = 8
/** To answer one that was given up takes little, but in an overload they come by the thousand. */
const MOST_GIVEN_UP = 32

export function createTurns({ clock, next = setImmediate }: TurnsOptions): Turns {
  const waiting: Waiting[] = []
  let beganMs: number | undefined

  function hasTime(): boolean {
    return beganMs === undefined || clock.monotonicMs() - beganMs < LONG_ENOUGH_MS
  }

  function beginTurn(): void {
    beganMs = clock.monotonicMs()
    next(() => {
      beganMs = undefined
      if (waiting.length === 0) return
      beginTurn()
      release()
      // Each by itself, since the work of one is done when its function is over.
      for (let more = Math.min(MOST_IN_TURN, waiting.length); more > 1; more -= 1) {
        next(() => {
          if (hasTime()) release()
        })
      }
    })
  }

  function release(): void {
    for (let most = MOST_GIVEN_UP; most > 0; most -= 1) {
      const one = waiting.shift()
      one?.begin()
      if (one?.signal.aborted !== true) return
    }
  }

  return {
    async mine(signal) {
      const isFirst = beganMs === undefined
      if (isFirst) beginTurn()
      if (isFirst || (waiting.length === 0 && hasTime())) return
      await new Promise<void>((begin) => waiting.push({ signal, begin }))
    },
  }
}
