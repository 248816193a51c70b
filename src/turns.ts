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
   * For work that may have waited since: what it waited for may have come together with that of others. At once as
   * long as the turn is not over, else as `Turns.mine`.
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
  readonly begin: (turn: Turn) => void
}

interface Current extends Turn {
  readonly hasTime: () => boolean
}

/** After so long no further piece begins in a turn. */
const LONG_ENOUGH_MS = 2
/** One alone in each turn would cost small ones a fifth more: each turn asks the kernel what has come. */
const MOST_IN_TURN = 8
/** To answer one that was given up takes little, but in an overload they come by the thousand. */
const MOST_GIVEN_UP = 32

export function createTurns({ clock, next = setImmediate }: TurnsOptions): Turns {
  const waiting: Waiting[] = []
  let current: Current | undefined

  function beginTurn(): Current {
    const beganMs = clock.monotonicMs()
    let isOver = false
    const turn: Current = {
      hasTime: () => clock.monotonicMs() - beganMs < LONG_ENOUGH_MS,
      goOn: (signal) => (isOver ? mine(signal) : Promise.resolve(turn)),
    }
    current = turn
    next(() => {
      isOver = true
      current = undefined
      if (waiting.length > 0) release(beginTurn())
    })
    return turn
  }

  function release(turn: Turn): void {
    releaseOne(turn)
    // Each by itself, since the work of one is done when its function is over. By then another turn has begun.
    for (let more = Math.min(MOST_IN_TURN - 1, waiting.length); more > 0; more -= 1) {
      next(() => {
        if (current?.hasTime() === true) releaseOne(current)
      })
    }
  }

  function releaseOne(turn: Turn): void {
    for (let most = MOST_GIVEN_UP; most > 0; most -= 1) {
      const one = waiting.shift()
      one?.begin(turn)
      if (one?.signal.aborted !== true) return
    }
  }

  async function mine(signal: AbortSignal): Promise<Turn> {
    if (current === undefined) return beginTurn()
    if (waiting.length === 0 && current.hasTime()) return current
    const turn = await new Promise<Turn>((begin) => waiting.push({ signal, begin }))
    if (signal.aborted) throw new AbandonedError('given up before its turn came')
    return turn
  }

  return { mine }
}
