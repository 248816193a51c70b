import type { Clock } from './clock.js'
import { AbandonedError } from './errors.js'

/**
 * Turns of the event loop, for pieces of work that come together: each may take a moment, and all of them in one turn
 * would keep whatever else comes waiting for as long as they take together.
 */
export interface Turns {
  /**
   * Over when the work may begin: at once as long as this turn has time left, else in a later one, in order.
   *
   * @param signal fires where the work is given up: that takes no time of others
   * @throws AbandonedError it was given up before its turn came
   */
  mine(signal: AbortSignal): Promise<Turn>
}

/** One in which a piece of work has begun. */
export interface Turn {
  /**
   * For work that may have waited since: what it waited for may have come together with that of others, or be one thing
   * that all of them wait for. At once where nothing else has begun meanwhile, so that one that waited for nothing goes on,
   * else as `Turns.mine`.
   */
  goOn(signal: AbortSignal): Promise<Turn>
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
  /** Of the turn in which pieces begin, if there is one. */
  let beganMs: number | undefined
  let begun = 0

  function hasTime(): boolean {
    return beganMs !== undefined && clock.monotonicMs() - beganMs < LONG_ENOUGH_MS
  }

  function beginTurn(): void {
    beganMs = clock.monotonicMs()
    next(() => {
      beganMs = undefined
      if (waiting.length === 0) return
      beginTurn()
      release()
    })
  }

  function release(): void {
    releaseOne()
    // Each by itself, since the work of one is done when its function is over. By then another turn has begun.
    for (let more = Math.min(MOST_IN_TURN - 1, waiting.length); more > 0; more -= 1) {
      next(() => {
        if (hasTime()) releaseOne()
      })
    }
  }

  function releaseOne(): void {
    for (let most = MOST_GIVEN_UP; most > 0; most -= 1) {
      const one = waiting.shift()
      one?.begin()
      if (one?.signal.aborted !== true) return
    }
  }

  function begin(): Turn {
    const number = (begun += 1)
    const piece: Turn = {
      async goOn(signal) {
        if (number === begun) return piece
        // Many can come here before the first of them has done anything, so that the turn has time left for all.
        return beganMs === undefined ? beginInNewTurn() : wait(signal)
      },
    }
    return piece
  }

  function beginInNewTurn(): Turn {
    beginTurn()
    return begin()
  }

  async function wait(signal: AbortSignal): Promise<Turn> {
    await new Promise<void>((release) => waiting.push({ signal, begin: release }))
    if (signal.aborted) throw new AbandonedError('given up before its turn came')
    return begin()
  }

  return {
    async mine(signal) {
      if (beganMs === undefined) return beginInNewTurn()
      return waiting.length === 0 && hasTime() ? begin() : wait(signal)
    },
  }
}
