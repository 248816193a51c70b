import type { Clock } from './clock.js'

export interface DrainParts {
  readonly clock: Clock
  readonly pause: (durationMs: number) => Promise<void>
  /** Nothing is left to answer for: no call, and no reservation whose report may still come. */
  readonly isDone: () => boolean
}

const LOOK_AGAIN_MS = 50

/**
 * Waits `delayMs`, in which Envoy learns that it should not send more, and then until nothing is left to answer for, at
 * most `deadlineMs`.
 *
 * @returns false when the deadline ended it
 */
export async function drain(
  { delayMs, deadlineMs }: { readonly delayMs: number; readonly deadlineMs: number },
  { clock, pause, isDone }: DrainParts,
): Promise<boolean> {
  await pause(delayMs)
  const startedMs = clock.monotonicMs()
  while (!isDone()) {
    if (clock.monotonicMs() - startedMs >= deadlineMs) return false
    await pause(LOOK_AGAIN_MS)
  }
  return true
}
