import type { Ended } from './ledger.js'
import { SECOND_MS } from '../units.js'

/** What is given back again once a second begins no other try later: what else is due then waits for it. */
export const ROUND_MS = SECOND_MS / 2

/**
 * So often is tried what the store answers and cannot end: a key that is moving has arrived by then, and a state that this
 * release cannot read is read by no later try. Waited for for ever, it would hold up each drain until its deadline.
 */
export const MAX_ANSWERED = 10

/** What has ended, where some of what was due may have failed: one part does not keep back what came of another. */
export function endedBeside<Context>(
  ended: readonly Ended<Context>[],
  failures: readonly unknown[],
  onFailure: ((error: unknown) => void) | undefined,
): readonly Ended<Context>[] {
  if (failures.length === 0) return ended
  if (ended.length === 0) throw failures[0]
  onFailure?.(failures[0])
  return ended
}
