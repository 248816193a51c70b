import { expect, test } from 'vitest'
import { drain } from '../src/drain.js'

/** How long it waits, where the last of what is left ends at this moment. */
async function waited(drainMs: { delayMs: number; deadlineMs: number }, endsAtMs: number) {
  let nowMs = 0
  const isDrained = await drain(drainMs, {
    // Its origin means nothing.
    clock: { nowEpochMs: () => 0, monotonicMs: () => 7_000_000 + nowMs },
    pause: async (durationMs) => {
      nowMs += durationMs
    },
    isDone: () => nowMs >= endsAtMs,
  })
  return { isDrained, nowMs }
}

test.each([
  ['the delay, with nothing left', 1000, 20_000, 0, 1000, true],
  ['the delay, in which the rest ends', 1000, 20_000, 900, 1000, true],
  ['until nothing is left', 1000, 20_000, 3000, 3000, true],
  ['the delay and the deadline after it, where something stays', 1000, 20_000, 1e9, 21_000, false],
  ['the delay alone, where nothing is waited for after it', 1000, 0, 1e9, 1000, false],
])('the drain takes %s', async (_what, delayMs, deadlineMs, endsAtMs, nowMs, isDrained) => {
  expect(await waited({ delayMs, deadlineMs }, endsAtMs)).toEqual({ isDrained, nowMs })
})
