import { beforeEach, describe, expect, test } from 'vitest'
import type { Census } from '../../src/quota/failover/processes.js'
import { createShares } from '../../src/quota/failover/shares.js'
import type { Shares } from '../../src/quota/failover/shares.js'
import type { Window } from '../../src/quota/quota.js'
import { calendar, quotaOf } from './quotas.js'

// What a process makes of what its store says; what the store says is in `claims.contract.ts`.

const nowMs = Date.parse('2026-02-02T12:00:00Z')
const leaseMs = 60_000
const minute = quotaOf({ limit: 100, window: { kind: 'sliding', lengthMs: 60_000 } })

let shares: Shares
beforeEach(() => {
  shares = createShares(3)
})

const same = (claim: number): number[] => [claim, claim, claim, claim, claim, claim]

/** What the store says now, in its own time. */
function learn(said: Partial<Census> = {}, atEpochMs = nowMs): void {
  const census = { atMs: atEpochMs + 7_000_000, processes: 3, claims: same(3), bornMs: 5 }
  shares.learn({ ...census, version: 1, table: undefined, ...said }, atEpochMs)
}

const shareOf = (quota = minute): number | undefined => shares.of(quota, leaseMs, nowMs)?.limit

describe('a share', () => {
  test('is the part of the limit that the store granted last, rounded down', () => {
    expect([shareOf(), shares.processes()]).toEqual([undefined, 0])
    learn()
    expect([shareOf(), shares.processes()]).toEqual([33, 3])
    learn({ claims: same(8), processes: 8 })
    expect([shareOf(), shares.processes()]).toEqual([12, 8])
    learn({ claims: same(0) })
    expect([shareOf(), shares.processes()]).toEqual([undefined, 0])
  })

  test('that is rounded down to nothing is none', () => {
    learn()
    expect(shareOf(quotaOf({ limit: 2 }))).toBeUndefined()
    expect(shareOf(quotaOf({ limit: 3 }))).toBe(1)
  })

  test('of a quota with slices leaves a tenth of the limit to these, rounded down', () => {
    learn()
    expect(shareOf({ ...minute, slices: true })).toBe(30)
    expect(shareOf(quotaOf({ limit: 19, slices: true }))).toBe(6)
    expect(shareOf(quotaOf({ limit: 9, slices: true }))).toBe(3)
    expect(shareOf({ ...minute, slices: false })).toBe(33)
  })

  test('is the same object as long as it is the same, for the ledger to keep', () => {
    learn()
    const first = shares.of(minute, leaseMs, nowMs)
    learn()
    expect(shares.of(minute, leaseMs, nowMs)).toBe(first)
    learn({ claims: same(4) })
    expect(shares.of(minute, leaseMs, nowMs)).not.toBe(first)
  })

  test.each<[string, Window, number]>([
    ['a minute', { kind: 'sliding', lengthMs: 60_000 }, 1],
    ['what counts for two minutes and a sub-window', { kind: 'sliding', lengthMs: 120_000 }, 2],
    ['a calendar minute', calendar('minute'), 1],
    ['a calendar hour', calendar('hour'), 2],
    ['a day of 25 hours', calendar('day'), 3],
    ['a week', calendar('week'), 4],
    ['a month', calendar('month'), 5],
    ['31 days', { kind: 'sliding', lengthMs: 31 * 86_400_000 }, 5],
    ['a leap year', calendar('year'), 6],
    ['a fixed day', { kind: 'fixed', lengthMs: 86_400_000 }, 3],
    ['a lease of a minute', { kind: 'open' }, 1],
  ])('of %s is that of the next longer horizon', (_, window, at) => {
    learn({ claims: [1, 2, 3, 4, 5, 6] })
    expect(shareOf(quotaOf({ limit: 60, window }))).toBe(60 / at)
  })

  test('of what is in flight goes by the lease, and there is none beyond all horizons', () => {
    learn({ claims: [1, 2, 3, 4, 5, 6] })
    const parallel = quotaOf({ limit: 60, unit: 'in_flight', window: { kind: 'open' } })
    expect(shares.of(parallel, 3_600_000, nowMs)?.limit).toBe(30)
    expect(shares.of(parallel, 400 * 86_400_000, nowMs)).toBeUndefined()
  })

  test('of what is in flight stays with a longer lease, for two of it after the last request that had it', () => {
    learn({ claims: [1, 2, 3, 4, 5, 6] })
    const parallel = quotaOf({ limit: 60, unit: 'in_flight', window: { kind: 'open' } })
    const limits = (atMs: number): (number | undefined)[] =>
      [parallel, minute].map((quota) => shares.of(quota, leaseMs, atMs)?.limit)
    const longMs = 3_600_000
    shares.saw(longMs, nowMs - 5000)
    shares.saw(longMs, nowMs)
    shares.saw(longMs, nowMs - 1000)
    shares.saw(400 * 86_400_000, nowMs)
    for (const atMs of [nowMs, nowMs + 2 * longMs - 1]) {
      shares.saw(leaseMs, atMs)
      expect(limits(atMs)).toEqual([30, 100])
    }
    expect(limits(nowMs + 2 * longMs)).toEqual([60, 100])
    // A longer one is as long as it is.
    expect(shares.of(parallel, 2 * 86_400_000, nowMs)?.limit).toBe(20)
    expect(shares.of(parallel, 400 * 86_400_000, nowMs)).toBeUndefined()
  })

  test('is not had any more by a process that leaves, whatever it is answered', () => {
    learn()
    shares.leave()
    learn()
    expect(shareOf()).toBeUndefined()
    expect(shares.said(nowMs)).toMatchObject({ leaving: true, claims: same(0) })
  })
})

describe('what a process says of itself', () => {
  test('is what it believes, how many share at least, and of what it was told last', () => {
    const fresh = { claims: same(0), used: undefined, bornMs: 0, version: 0, known: undefined }
    expect(shares.said(nowMs)).toMatchObject({ ...fresh, atLeast: 3, leaving: false })
    learn({ version: 7 })
    expect(shares.said(nowMs)).toMatchObject({ claims: same(3), bornMs: 0, version: 7 })
    learn({ version: 8, table: '{}' })
    expect(shares.said(nowMs)).toMatchObject({ bornMs: 5, version: 8, known: undefined })
  })

  test('is when it last used its share, and by which claim at most', () => {
    learn({ claims: [2, 2, 2, 0, 2, 2] })
    shares.used(nowMs)
    learn({ claims: [4, 1, 4, 4, 4, 0] })
    shares.used(nowMs + 1000)
    expect(shares.said(nowMs + 1500).used).toEqual({ agoMs: 500, divisors: [2, 1, 2, 4, 2, 2] })
    // What was used by a larger one counts no more for the shortest horizon.
    shares.used(nowMs + 121_001)
    expect(shares.said(nowMs + 121_001).used).toEqual({ agoMs: 0, divisors: [4, 1, 2, 4, 2, 2] })
  })

  test('is what a store knew that has lost its memory, until another has heard of it', () => {
    learn({ table: 'first' })
    learn({ version: 2 })
    learn({ version: 3, bornMs: 6, table: 'second' }, nowMs + 1000)
    const known = { atMs: nowMs + 7_002_500, entries: 'first' }
    for (let lost = 0; lost < 2; lost += 1) {
      expect(shares.said(nowMs + 2500)).toMatchObject({ bornMs: 5, known })
    }
    learn({ version: 3, bornMs: 6 }, nowMs + 2500)
    expect(shares.said(nowMs + 3000)).toMatchObject({ bornMs: 6, known: undefined })
    learn({ version: 1, bornMs: 7, table: 'third' }, nowMs + 3000)
    expect(shares.said(nowMs + 3000).known?.entries).toBe('second')
  })

  test('is nothing that others did, where it leaves: that is told with a moment', () => {
    learn({ table: 'first' })
    learn({ version: 3, bornMs: 6, table: 'second' })
    shares.leave()
    expect(shares.said(0)).toMatchObject({ leaving: true, known: undefined })
  })

  test('is that also where the store that heard of it loses its memory at once', () => {
    learn({ table: 'first' })
    learn({ version: 3, bornMs: 6, table: 'second' })
    expect(shares.said(nowMs).known?.entries).toBe('first')
    learn({ version: 3, bornMs: 7, table: 'third' })
    expect(shares.said(nowMs).known?.entries).toBe('second')
  })
})
