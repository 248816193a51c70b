import type { Ledger } from '../../src/quota/ledger.js'
import type { SliceTuning } from '../../src/quota/slices/sliced-ledger.js'

/** Every quota is sliced from the first request on, and one slice may be all that is free. */
export const greedy: SliceTuning = {
  isSliced: () => true,
  share: { one: 1, all: 1 },
  leastRequests: 1,
  warmMs: Infinity,
}

/**
 * A decision from a slice tells the figures of the slice's moment, and what is in slices is told as reserved: these
 * figures are asked for anew.
 */
export function toldExactly(ledger: Ledger<string>): Ledger<string> {
  return {
    ...ledger,
    async reserve(request, nowEpochMs) {
      const answer = await ledger.reserve(request, nowEpochMs)
      const { holds } = answer.kind === 'held' ? answer.reservation : request
      return { ...answer, balances: await ledger.balances(holds, nowEpochMs) }
    },
  }
}

/** Is it the reply of a turn that took slices? Each that there was room for has more than the figures (`lua/turn.lua`). */
export function givesSlices(reply: readonly unknown[]): boolean {
  const [kind, , , taken] = reply
  return kind === 'turned' && (taken as readonly unknown[][]).some((slice) => slice.length > 2)
}
