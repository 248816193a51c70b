import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Window } from '../../src/quota/quota.js'
import { createTimelines } from '../../src/quota/windows/windows.js'
import { calendar } from './quotas.js'
import { runs } from '../runs.js'

const sliding = (lengthMs: number): Window => ({ kind: 'sliding', lengthMs })
const fixed = (lengthMs: number): Window => ({ kind: 'fixed', lengthMs })
const momentMs = fc.integer({ min: 0, max: 4e12 })
const windowOf = fc.oneof(
  fc.integer({ min: 1, max: 40 * 86_400_000 }).map(sliding),
  fc.constantFrom(
    sliding(60_000),
    calendar('minute'),
    calendar('hour', 'Australia/Lord_Howe'),
    calendar('day', 'Europe/Berlin'),
    calendar('month', 'America/New_York'),
    calendar('week', 'Asia/Tokyo'),
    calendar('year', 'Europe/Berlin'),
    fixed(1000),
    fixed(2_592_000_000),
  ),
)

describe('a timeline', () => {
  test('is one and the same for equal windows, and another for others', () => {
    const timelineOf = createTimelines()
    expect(timelineOf(sliding(1000))).toBe(timelineOf(sliding(1000)))
    expect(timelineOf(calendar('day'))).toBe(timelineOf(calendar('day')))
    const all = [
      sliding(1000),
      sliding(1001),
      calendar('day'),
      calendar('hour'),
      calendar('day', 'Asia/Tokyo'),
      { kind: 'open' } as const,
      fixed(1000),
      fixed(60_000),
    ].map(timelineOf)
    expect(new Set(all).size).toBe(all.length)
  })

  test('says of every cell the very millisecond at which it leaves', () => {
    const timelineOf = createTimelines()
    fc.assert(
      fc.property(windowOf, momentMs, (window, nowMs) => {
        const timeline = timelineOf(window)
        const cell = timeline.cellAt(nowMs)
        const leavesMs = timeline.leavesAtMs(cell)
        expect(leavesMs).toBeGreaterThan(nowMs)
        expect(timeline.oldestCellAt(leavesMs - 1)).toBeLessThanOrEqual(cell)
        expect(timeline.oldestCellAt(leavesMs)).toBeGreaterThan(cell)
      }),
      { numRuns: runs(2000) },
    )
  })

  test('of a sliding window keeps a cell for the length and at most a sub-window more', () => {
    const timelineOf = createTimelines()
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 * 86_400_000 }), momentMs, (lengthMs, nowMs) => {
        const timeline = timelineOf(sliding(lengthMs))
        const keptMs = timeline.leavesAtMs(timeline.cellAt(nowMs)) - nowMs
        expect(keptMs).toBeGreaterThan(lengthMs)
        expect(keptMs).toBeLessThanOrEqual(Math.ceil((lengthMs * 65) / 64))
      }),
      { numRuns: runs(2000) },
    )
  })

  test('of a fixed window ends where envoyproxy/ratelimit resets', () => {
    const timelineOf = createTimelines()
    // Its resets at the second 1,000,000: second, minute, hour, day, week, month, year.
    const lengthsS = [1, 60, 3600, 86_400, 604_800, 2_592_000, 31_536_000]
    const resetsS = [1, 20, 800, 36_800, 209_600, 1_592_000, 30_536_000]
    const waitsS = lengthsS.map((lengthS) => {
      const timeline = timelineOf(fixed(lengthS * 1000))
      return (timeline.leavesAtMs(timeline.cellAt(1e9)) - 1e9) / 1000
    })
    expect(waitsS).toEqual(resetsS)
  })

  test('of a fixed window lets a debt of any size fall by the limit at each boundary', () => {
    const timelineOf = createTimelines()
    const large = fc.oneof(
      fc.integer({ min: 1, max: 1000 }),
      fc.maxSafeNat().map((n) => n + 1),
    )
    fc.assert(
      fc.property(
        large,
        large,
        fc.constantFrom(1000, 604_800_000),
        momentMs,
        momentMs,
        (owed, limit, lengthMs, a, b) => {
          fc.pre(owed <= Number.MAX_SAFE_INTEGER && limit <= Number.MAX_SAFE_INTEGER)
          const [fromMs, toMs] = [Math.min(a, b), Math.max(a, b)]
          const timeline = timelineOf(fixed(lengthMs))
          const sinceEpochMs = timeline.debtBeginsAtMs(fromMs)
          const left = timeline.debtAt({ amount: owed, carry: 0, sinceEpochMs }, limit, toMs)
          const boundaries = BigInt(Math.floor(toMs / lengthMs) - Math.floor(fromMs / lengthMs))
          const exact = BigInt(owed) - BigInt(limit) * boundaries
          expect(BigInt(left?.amount ?? 0)).toBe(exact > 0n ? exact : 0n)
        },
      ),
      { numRuns: runs(1000) },
    )
  })

  test('tells far boundaries of a large debt without counting to each', () => {
    const timeline = createTimelines()(calendar('day'))
    const sinceEpochMs = timeline.debtBeginsAtMs(5)
    const debt = { amount: 1e7, carry: 0, sinceEpochMs }
    expect(timeline.debtReachesAtMs(debt, 1, 0)).toBe(1e7 * 86_400_000)
  })
})

describe('the debt of a sliding window', () => {
  const amount = fc.oneof(
    fc.integer({ min: 1, max: 1000 }),
    fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  )
  const durationMs = fc.oneof(fc.nat({ max: 1000 }), fc.nat({ max: 1e12 }))

  test('falls exactly, also in steps and beyond 2^53', () => {
    const timelineOf = createTimelines()
    fc.assert(
      fc.property(
        amount,
        amount,
        fc.integer({ min: 1, max: 4e9 }),
        fc.array(durationMs, { minLength: 1, maxLength: 6 }),
        (owed, limit, lengthMs, stepsMs) => {
          const timeline = timelineOf(sliding(lengthMs))
          let debt: ReturnType<typeof timeline.debtAt> = { amount: owed, carry: 0, sinceEpochMs: 0 }
          let nowMs = 0
          for (const stepMs of stepsMs) {
            nowMs += stepMs
            debt = debt && timeline.debtAt(debt, limit, nowMs)
            const fallen = (BigInt(limit) * BigInt(nowMs)) / BigInt(lengthMs)
            const left = BigInt(owed) - fallen
            expect(debt && BigInt(debt.amount)).toBe(left > 0n ? left : undefined)
          }
        },
      ),
      { numRuns: runs(2000) },
    )
  })

  test('is gone when exactly all of it has fallen', () => {
    const timeline = createTimelines()(sliding(1000))
    const debt = { amount: 10, carry: 0, sinceEpochMs: 0 }
    expect(timeline.debtAt(debt, 10, 999)).toMatchObject({ amount: 1 })
    expect(timeline.debtAt(debt, 10, 1000)).toBeUndefined()
  })

  test('falls exactly by the largest limit, a millisecond at a time', () => {
    const most = Number.MAX_SAFE_INTEGER
    const timeline = createTimelines()(sliding(1_000_003))
    let debt: ReturnType<typeof timeline.debtAt> = { amount: most, carry: 0, sinceEpochMs: 0 }
    for (let nowMs = 1; nowMs <= 1000; nowMs += 1) {
      debt = debt && timeline.debtAt(debt, most, nowMs)
      const fallen = (BigInt(most) * BigInt(nowMs)) / 1_000_003n
      expect(debt && BigInt(debt.amount)).toBe(BigInt(most) - fallen)
    }
  })

  test('reaches a target at the very millisecond that is told', () => {
    const timelineOf = createTimelines()
    fc.assert(
      fc.property(
        amount,
        amount,
        fc.integer({ min: 1, max: 1e6 }),
        fc.nat(),
        (owed, limit, lengthMs, seed) => {
          const timeline = timelineOf(sliding(lengthMs))
          const debt = { amount: owed, carry: seed % lengthMs, sinceEpochMs: 0 }
          const target = seed % owed
          const reachesMs = timeline.debtReachesAtMs(debt, limit, target)
          fc.pre(reachesMs < Number.MAX_SAFE_INTEGER)
          const at = (ms: number): number => timeline.debtAt(debt, limit, ms)?.amount ?? 0
          expect(at(reachesMs)).toBeLessThanOrEqual(target)
          if (reachesMs > 0) expect(at(reachesMs - 1)).toBeGreaterThan(target)
        },
      ),
      { numRuns: runs(2000) },
    )
  })
})
