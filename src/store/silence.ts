import type { Clock } from '../clock.js'

/** For how long a server has answered nobody, while it owes an answer: what a hanging one shows before a call is due. */
export interface Silence {
  /** A call was sent; what is given back is to be called when it was answered, or never will be. */
  sent(): () => void
  /** 0: it owes no answer. */
  ms(): number
  /** What was sent so far counts no longer: its connection is given up, and says nothing of the next one. */
  forget(): void
}

export function createSilence(clock: Pick<Clock, 'monotonicMs'>): Silence {
  let owed = 0
  let sinceMs = 0
  let connections = 0
  return {
    sent() {
      if (owed === 0) sinceMs = clock.monotonicMs()
      owed += 1
      const connection = connections
      return () => {
        if (connection !== connections) return
        owed -= 1
        sinceMs = clock.monotonicMs()
      }
    },
    ms: () => (owed === 0 ? 0 : clock.monotonicMs() - sinceMs),
    forget() {
      connections += 1
      owed = 0
    },
  }
}
