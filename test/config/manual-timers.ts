import type { Timers } from '../../src/config/follow.js'

/** Time that passes when the test says so. */
export function manualTimers(): Timers & { advance(ms: number): void } {
  let nowMs = 0
  let waiting: { atMs: number; action: () => void }[] = []
  return {
    after: (delayMs, action) => {
      const timer = { atMs: nowMs + delayMs, action }
      waiting.push(timer)
      return () => {
        waiting = waiting.filter((other) => other !== timer)
      }
    },
    advance: (ms) => {
      const untilMs = nowMs + ms
      for (;;) {
        const next = waiting
          .filter(({ atMs }) => atMs <= untilMs)
          .sort((left, right) => left.atMs - right.atMs)[0]
        if (next === undefined) break
        waiting = waiting.filter((timer) => timer !== next)
        nowMs = next.atMs
        next.action()
      }
      nowMs = untilMs
    },
  }
}

/** Lets what was queued as promises run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve()
}
