/**
 * Time is an argument (invariant 9): whoever decides receives a `Clock`, so a test can be any moment.
 *
 * `nowEpochMs` is wall-clock time, for `exp` claims, calendar windows and records; it may jump.
 * `monotonicMs` never goes backwards, for durations and time bounds; its origin means nothing.
 */
export interface Clock {
  nowEpochMs(): number
  monotonicMs(): number
}

/** The machine's own clocks. */
export const systemClock: Clock = {
  nowEpochMs: () => Date.now(),
  monotonicMs: () => performance.now(),
}
