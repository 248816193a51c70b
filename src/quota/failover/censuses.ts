import { DependencyError } from '../../errors.js'
import type { Processes } from './processes.js'
import type { Shares } from './shares.js'

/** When this process says what it claims: about once a second, and when it leaves. */
export interface Censuses {
  /**
   * One at a time, and of many processes each more seldom, since each reads what all of them claim.
   *
   * @throws DependencyError the store did not answer
   */
  ask(nowEpochMs: number): Promise<void>
  /** It claims nothing any more. Where the store is away, it counts as one that may be using its share. */
  leave(): Promise<void>
}

/** Of all processes together. */
const CENSUSES_PER_S = 50

export function createCensuses(processes: Processes, shares: Shares): Censuses {
  let isAsking = false
  /** Calls that ask nothing, from now on. */
  let pauses = 0
  return {
    async ask(nowEpochMs) {
      if (isAsking) return
      if (pauses > 0) {
        pauses -= 1
        return
      }
      isAsking = true
      try {
        const census = await processes.census(shares.said(nowEpochMs))
        shares.learn(census, nowEpochMs)
        pauses = Math.floor(census.processes / CENSUSES_PER_S)
      } finally {
        isAsking = false
      }
    },

    async leave() {
      shares.leave()
      try {
        // No moment is given: what it used counts as used now.
        await processes.census(shares.said(0))
      } catch (error) {
        if (!(error instanceof DependencyError)) throw error
      }
    },
  }
}
