import { UnansweredError } from '../../store/store.js'

export interface PartsInTime {
  /** For how long the node of a part has answered nobody, while it owes an answer. */
  readonly silentMs: (index: number) => number
  /** A node that is silent for so long is waited for no longer, once others have answered. */
  readonly patienceMs: number
  /** Nothing can be done without this part: it is waited for to its end. */
  readonly isNeeded: (index: number) => boolean
}

/**
 * What became of calls to several nodes at the same time. Each comes to its end by itself; but what is left to silent
 * nodes alone is given up as unanswered, so that time is left to do without them. Where nobody has answered it may be
 * this process that is slow, or all of the store: then there is nothing to do without.
 */
export function partsInTime<T>(
  asked: readonly Promise<T>[],
  { silentMs, patienceMs, isNeeded }: PartsInTime,
): Promise<PromiseSettledResult<T>[]> {
  return new Promise((resolve) => {
    const outcomes = new Map<number, PromiseSettledResult<T>>()
    let hasAnswered = false
    let timer: NodeJS.Timeout | undefined
    let looking: NodeJS.Immediate | undefined

    function leftMs(): number {
      const left = asked.map((_, index) => {
        if (outcomes.has(index)) return 0
        return isNeeded(index) ? Infinity : patienceMs - silentMs(index)
      })
      return Math.max(0, ...left)
    }

    /** @param isRead the event loop has polled for all that lay there at the last look */
    function look(isRead = false): void {
      clearTimeout(timer)
      if (outcomes.size < asked.length) {
        if (!hasAnswered) return
        const waitMs = leftMs()
        if (waitMs === Infinity) return
        if (waitMs > 0) {
          // A timer can fire early by a part of a millisecond.
          const inMs = Math.ceil(waitMs) + 1
          timer = setTimeout(() => {
            lookWhenRead()
          }, inMs)
          return
        }
        if (!isRead) {
          lookWhenRead(true)
          return
        }
      }
      resolve(asked.map((_, index) => outcomes.get(index) ?? unanswered()))
    }

    /**
     * Where the event loop was held up, answers may lie there already: they are read before. What this is called in may
     * be a poll that is held up further on, so who is silent at its end is looked at again behind a whole one.
     */
    function lookWhenRead(isRead = false): void {
      looking ??= setImmediate(() => {
        looking = undefined
        look(isRead)
      })
    }

    for (const [index, each] of asked.entries()) {
      const settle = (outcome: PromiseSettledResult<T>): void => {
        outcomes.set(index, outcome)
        hasAnswered ||= outcome.status === 'fulfilled'
        if (outcomes.size === asked.length) look()
        else lookWhenRead()
      }
      each.then(
        (value) => {
          settle({ status: 'fulfilled', value })
        },
        (reason: unknown) => {
          settle({ status: 'rejected', reason })
        },
      )
    }
  })
}

function unanswered(): PromiseRejectedResult {
  const reason = new UnansweredError('Redis did not answer while other nodes did')
  return { status: 'rejected', reason }
}
