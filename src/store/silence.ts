import type { Clock } from '../clock.js'

/** For how long a server has answered nobody, while it owes an answer: what a hanging one shows before a call is due. */
export interface Silence {
  /** A call was sent; what is given back is to be called when it was answered, or never will be. */
  sent(): () => void
  /** 0: it owes no answer. */
  ms(): number
}

export function createSilence(clock: Pick<Clock, 'monotonicMs'>): Silence {
  let owed = 0
  let sinceMs = 0
  return {
    sent() {
      if (owed === 0) sinceMs = clock.monotonicMs()
      owed += 1
      return () => {
        owed -= 1
        sinceMs = clock.monotonicMs()
      }
    },
    ms: () => (owed === 0 ? 0 : clock.monotonicMs() - sinceMs),
  }
}
