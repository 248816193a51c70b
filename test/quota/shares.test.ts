import { beforeEach, describe, expect, test } from 'vitest'
import type { Census } from '../../src/quota/failover/processes.js'
import { createShares } from '../../src/quota/failover/shares.js'
import type { Shares } from '../../src/quota/failover/shares.js'
import { calendar, quotaOf } from './quotas.js'

const startMs = Date.parse('2026-02-02T12:00:00Z')
const minute = quotaOf({ limit: 100, window: { kind: 'sliding', lengthMs: 60_000 } })
const day = quotaOf({ limit: 100, window: calendar('day') })
const parallel = quotaOf({ limit: 100, unit: 'in_flight', window: { kind: 'open' } })
const leaseMs = 120_000

let shares: Shares
let nowMs: number
beforeEach(() => {
  shares = createShares(1)
  nowMs = startMs
})

/** The store's own clock is elsewhere. */
const redisMs = (): number => nowMs + 7_000_000

/** What the store says now: `processes` are seen, all of them just now, and nobody has used a share. */
function learn(processes: number, said: Partial<Census> = {}): void {
  const atMs = redisMs()
  shares.learn(
    { atMs, processes, joined: false, allToldMs: atMs, lastLocal: undefined, ...said },
    nowMs,
  )
}

/** Seen each second. */
function stay(seconds: number, processes: number, said: Partial<Census> = {}): void {
  for (let second = 0; second < seconds; second += 1) {
    nowMs += 1000
    learn(processes, said)
  }
}

const shareOf = (quota = minute): number | undefined => shares.of(quota, leaseMs, nowMs)?.limit

describe('a share', () => {
  test('is the limit by the processes that were seen, rounded down', () => {
    learn(3, { joined: true })
    stay(10, 3)
    expect(shareOf()).toBe(33)
    expect(shares.processes()).toBe(3)
  })

  test('is that of as many processes as the policy says, at least', () => {
    shares = createShares(8)
    learn(3, { joined: true })
    stay(10, 3)
    expect(shareOf()).toBe(12)
    stay(1, 9)
    expect(shareOf()).toBe(11)
  })

  test('is not had by a process that the store never saw, nor in its first 10 s', () => {
    expect(shareOf()).toBeUndefined()
    learn(3, { joined: true })
    stay(9, 3)
    expect([shareOf(), shares.processes()]).toEqual([undefined, 0])
    stay(1, 3)
    expect([shareOf(), shares.processes()]).toEqual([33, 3])
  })

  test('is not had as long as one of the others may not know of it', () => {
    const joinedMs = redisMs()
    learn(3, { joined: true })
    stay(30, 3, { allToldMs: joinedMs })
    expect(shareOf()).toBeUndefined()
    stay(1, 3, { allToldMs: joinedMs + 1 })
    expect(shareOf()).toBe(33)
  })

  test('that is rounded down to nothing is none', () => {
    learn(3, { joined: true })
    stay(10, 3)
    expect(shareOf(quotaOf({ limit: 2 }))).toBeUndefined()
    expect(shareOf(quotaOf({ limit: 3 }))).toBe(1)
  })

  test('is the same object as long as it is the same, for the ledger to keep', () => {
    learn(3, { joined: true })
    stay(10, 3)
    const first = shares.of(minute, leaseMs, nowMs)
    stay(1, 3)
    expect(shares.of(minute, leaseMs, nowMs)).toBe(first)
  })
})

describe('when processes go', () => {
  beforeEach(() => {
    learn(4, { joined: true })
    stay(10, 4)
  })

  test('shares grow only when no window counts what was had by the smaller ones', () => {
    stay(60, 2)
    expect(shareOf()).toBe(25)
    stay(1, 2)
    expect(shareOf()).toBe(50)
    expect(shareOf(day)).toBe(25)
    nowMs = startMs + 86_400_000
    learn(2)
    expect(shareOf(day)).toBe(50)
  })

  test('places in flight are shared among as many as held some, for a lease', () => {
    stay(120, 2)
    expect(shareOf(parallel)).toBe(25)
    stay(1, 2)
    expect(shareOf(parallel)).toBe(50)
  })

  test('the largest number counts, whatever came between', () => {
    stay(10, 2)
    stay(10, 3)
    expect(shareOf()).toBe(25)
    stay(50, 1)
    expect(shareOf()).toBe(33)
  })

  test('shares shrink at once when others come', () => {
    stay(1, 5)
    expect(shareOf()).toBe(20)
  })

  test('an outage of any length leaves the last number', () => {
    nowMs += 86_400_000
    expect(shareOf()).toBe(25)
  })

  test('no more numbers are kept than there need be, and the largest never goes early', () => {
    for (let processes = 1000; processes > 4; processes -= 1) stay(1, processes)
    nowMs += 1000
    expect(shareOf(quotaOf({ limit: 10_000, window: calendar('day') }))).toBe(10)
  })
})

describe('a store that lost its memory', () => {
  beforeEach(() => {
    learn(4, { joined: true })
    stay(10, 4)
  })

  test('is not believed that there are fewer until all have had the time to come back', () => {
    nowMs += 1000
    learn(1, { joined: true })
    stay(9, 1)
    // It goes again, until no window counts the moment at which four were seen.
    nowMs += 70_000
    expect(shareOf()).toBe(25)
  })

  test('takes a share from nobody who was away no longer than a minute', () => {
    nowMs += 59_000
    learn(1, { joined: true })
    expect(shareOf()).toBe(25)
  })

  test('has those join anew who were away for longer, since the others counted them no more', () => {
    nowMs += 61_000
    learn(4, { joined: true })
    expect(shareOf()).toBeUndefined()
    stay(10, 4)
    expect(shareOf()).toBe(25)
  })
})

describe('a process that comes when others have used their shares', () => {
  test('has none until every window in which they did has passed', () => {
    const usedMs = redisMs() - 30_000
    const lastLocal = { atMs: usedMs, countedMs: usedMs - 5000 }
    learn(2, { joined: true, lastLocal })
    stay(10, 2, { lastLocal })
    expect(shareOf()).toBeUndefined()
    // One sub-window longer, as spending counts.
    stay(20, 2, { lastLocal })
    expect(shareOf()).toBeUndefined()
    stay(2, 2, { lastLocal })
    expect(shareOf()).toBe(50)
    expect(shareOf(day)).toBeUndefined()
    expect(shareOf(parallel)).toBeUndefined()
    stay(60, 2, { lastLocal })
    expect(shareOf(parallel)).toBe(50)
  })

  test('has none either where word of that comes when it has one already', () => {
    const usedMs = redisMs() + 5000
    const countedMs = redisMs() - 5000
    learn(2, { joined: true })
    stay(20, 2)
    expect(shareOf(day)).toBe(50)
    // By one that was cut off, and is back.
    const lastLocal = { atMs: usedMs, countedMs }
    stay(1, 3, { lastLocal })
    expect([shareOf(), shareOf(day)]).toEqual([undefined, undefined])
    stay(60, 3, { lastLocal })
    expect([shareOf(), shareOf(day)]).toEqual([33, undefined])
  })

  test('keeps its own where the store that lost its memory is told of a use by which it was counted', () => {
    learn(2, { joined: true })
    stay(20, 2)
    const lastLocal = { atMs: redisMs(), countedMs: redisMs() }
    stay(5, 2, { lastLocal })
    nowMs += 1000
    learn(2, { joined: true, lastLocal })
    stay(10, 2, { lastLocal })
    expect(shareOf(day)).toBe(50)
  })

  test('is one of them afterwards, and loses nothing when they use theirs again', () => {
    learn(2, { joined: true })
    stay(10, 2)
    stay(1, 2, { lastLocal: { atMs: redisMs(), countedMs: redisMs() } })
    expect(shareOf(day)).toBe(50)
  })
})

describe('a process that was away for more than a minute', () => {
  beforeEach(() => {
    learn(2, { joined: true })
    stay(10, 2)
  })

  test.each([
    ['counted it still', 60_000, 50],
    ['counted it no more', 60_001, undefined],
  ])('comes back to others who %s when they used their shares', (_, laterMs, share) => {
    const countedMs = redisMs() + laterMs
    nowMs += 100_000
    const lastLocal = { atMs: redisMs() - 20_000, countedMs }
    learn(2, { joined: true, lastLocal })
    stay(10, 2, { lastLocal })
    expect(shareOf(day)).toBe(share)
    // What they use when it has long been one of them again takes nothing.
    stay(1, 2, { lastLocal: { atMs: redisMs(), countedMs: redisMs() } })
    expect(shareOf(day)).toBe(share)
  })

  test('comes back as such also where it read an old answer late, as one that was stopped does', () => {
    const atMs = redisMs() + 1000
    nowMs += 70_000
    learn(2, { atMs, allToldMs: atMs })
    expect(shareOf()).toBe(50)
    nowMs += 1000
    learn(2, { joined: true })
    expect(shareOf()).toBeUndefined()
  })

  test('was not, where only the answers were lost', () => {
    nowMs += 100_000
    learn(2)
    expect(shareOf()).toBe(50)
  })

  test('has none for a use of before it was first there, whatever a store that lost its memory says', () => {
    shares = createShares(1)
    const lastLocal = { atMs: redisMs() - 1000, countedMs: redisMs() - 2000 }
    for (const earlierMs of [0, 86_400_000]) {
      nowMs += 100_000
      const said = { atMs: lastLocal.atMs - earlierMs, countedMs: redisMs() }
      learn(2, { joined: true, lastLocal: said })
      stay(10, 2, { lastLocal: said })
      expect(shareOf(day)).toBeUndefined()
      expect(shareOf()).toBe(50)
    }
  })
})

describe('what a process says of itself', () => {
  test('is the last that it received, and what it admitted by its share, by which count', () => {
    expect(shares.said(nowMs)).toEqual({ toldMs: undefined, local: undefined })
    learn(2, { joined: true })
    stay(12, 2)
    const countedMs = redisMs()
    shares.used(nowMs)
    // Not told by all: it may not count fewer by that.
    stay(3, 2, { allToldMs: -1 })
    expect(shares.said(nowMs)).toEqual({
      toldMs: redisMs(),
      local: { agoMs: 3000, countedMs },
    })
    shares.used(nowMs)
    expect(shares.said(nowMs).local).toEqual({ agoMs: 0, countedMs })
  })
})
