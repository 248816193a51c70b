import { beforeEach, describe, expect, test } from 'vitest'
import type { Census, Said } from '../../src/quota/failover/processes.js'
import { createShares } from '../../src/quota/failover/shares.js'
import type { Shares } from '../../src/quota/failover/shares.js'
import { calendar, quotaOf } from './quotas.js'

/** A store of claims whose moments are given. */
export interface GivenClaims {
  census(process: string, said: Said, nowMs: number): Promise<Census>
  lose(): Promise<void>
}

const startMs = Date.parse('2026-02-02T12:00:00Z')
const LIMIT = 120
const minute = quotaOf({ limit: LIMIT, window: { kind: 'sliding', lengthMs: 60_000 } })
const day = quotaOf({ limit: LIMIT, window: calendar('day') })
const leaseMs = 60_000

/** What a store has to make of what its processes say; the script of Redis does, and so does the model of it. */
export function describeClaims(name: string, open: () => GivenClaims): void {
  let store: GivenClaims
  let nowMs: number
  /** What the clock of the store is ahead of the processes. */
  let aheadMs: number
  let all: Map<string, Shares>

  beforeEach(async () => {
    store = open()
    await store.lose()
    nowMs = startMs
    aheadMs = 7_000_000
    all = new Map()
  })

  const sharesOf = (process: string): Shares => {
    const shares = all.get(process)
    if (shares === undefined) throw new Error(`no process ${process}`)
    return shares
  }

  function join(names: string, atLeast = 1): void {
    for (const process of names) all.set(process, createShares(atLeast))
  }

  async function beat(process: string, isDeaf = false): Promise<Census> {
    const shares = sharesOf(process)
    const census = await store.census(process, shares.said(nowMs), nowMs + aheadMs)
    if (!isDeaf) shares.learn(census, nowMs)
    return census
  }

  /** Each second. */
  async function stay(seconds: number, names: string): Promise<void> {
    for (let second = 0; second < seconds; second += 1) {
      nowMs += 1000
      for (const process of names) await beat(process)
    }
  }

  const of = (names: string, quota = minute): (number | undefined)[] =>
    [...names].map((process) => sharesOf(process).of(quota, leaseMs, nowMs)?.limit)

  async function start(names: string, atLeast = 1): Promise<void> {
    join(names, atLeast)
    for (const process of names) await beat(process)
    // And so long that each knows of the others.
    await stay(12, names)
  }

  describe(name, () => {
    test('gives each of its processes its part of the limit, after its first 10 s', async () => {
      join('abc')
      for (const process of 'abc') await beat(process)
      await stay(9, 'abc')
      expect(of('abc')).toEqual([undefined, undefined, undefined])
      await stay(1, 'abc')
      expect(of('abc')).toEqual([40, 40, 40])
      expect(of('abc', day)).toEqual([40, 40, 40])
      expect(sharesOf('a').processes()).toBe(3)
    })

    test('takes so many processes as the policy says, at least', async () => {
      await start('ab', 4)
      expect(of('ab')).toEqual([30, 30])
      join('cde', 4)
      await stay(4, 'abcde')
      expect(of('abcde')).toEqual([24, 24, 24, 24, 24])
    })

    test('gives one that comes what the others have made room for, when they say so', async () => {
      await start('ab')
      join('c')
      await beat('c')
      expect(of('abc')).toEqual([60, 60, undefined])
      await stay(1, 'c')
      // The answer that would have told it reached nobody.
      await beat('a', true)
      await beat('b')
      await stay(2, 'cb')
      expect(of('abc')).toEqual([60, 40, 20])
      await beat('a')
      await stay(2, 'abc')
      expect(of('abc')).toEqual([40, 40, 40])
    })

    test('takes a larger claim for made, though the answer that gave it was lost', async () => {
      await start('abc')
      sharesOf('c').leave()
      await beat('c')
      await beat('a', true)
      join('d')
      await stay(1, 'd')
      expect(of('abd')).toEqual([40, 40, 20])
      await beat('a')
      await stay(3, 'abd')
      expect(of('abd')).toEqual([40, 40, 40])
    })

    test('has room again at once when one leaves that has used nothing', async () => {
      await start('abc')
      sharesOf('c').leave()
      expect(of('c')).toEqual([undefined])
      expect((await beat('c')).claims.every((claim) => claim === 0)).toBe(true)
      expect(of('c')).toEqual([undefined])
      await stay(2, 'ab')
      expect(of('ab')).toEqual([60, 60])
      expect(of('ab', day)).toEqual([60, 60])
    })

    test('keeps the place of one that leaves and has used its share, as long as that may count', async () => {
      await start('abc')
      sharesOf('c').used(nowMs)
      sharesOf('c').leave()
      await beat('c')
      await stay(2, 'ab')
      expect([of('ab'), of('ab', day)]).toEqual([
        [40, 40],
        [40, 40],
      ])
      await stay(130, 'ab')
      expect([of('ab'), of('ab', day)]).toEqual([
        [60, 60],
        [40, 40],
      ])
      nowMs += 2 * 86_400_000
      await stay(3, 'ab')
      expect(of('ab', day)).toEqual([60, 60])
    })

    test('takes one that is silent for a minute for one that may have used its share until then', async () => {
      await start('abc')
      await stay(60, 'ab')
      expect(sharesOf('a').processes()).toBe(3)
      await stay(1, 'ab')
      expect(sharesOf('a').processes()).toBe(2)
      // Whoever comes in its place has what the others make room for.
      join('d')
      await stay(5, 'abd')
      expect([of('abd'), of('abd', day)]).toEqual([
        [30, 30, 20],
        [30, 30, 20],
      ])
      await stay(121, 'abd')
      expect([of('abd'), of('abd', day)]).toEqual([
        [40, 40, 40],
        [30, 30, 20],
      ])
    })

    test('knows one that comes back by what it claims, and takes that from nobody else', async () => {
      await start('abc')
      await stay(70, 'ab')
      expect(of('c')).toEqual([40])
      await stay(3, 'abc')
      expect([of('abc'), of('abc', day)]).toEqual([
        [40, 40, 40],
        [40, 40, 40],
      ])
      // As after an outage: each of them says itself what it used, and that was nothing.
      nowMs += 90_000
      await stay(3, 'abc')
      join('d')
      await stay(5, 'abcd')
      expect(of('abcd', day)).toEqual([30, 30, 30, 30])
    })

    test('keeps for others what one has used by a larger claim, until it does not count any more', async () => {
      await start('a')
      expect(of('a')).toEqual([LIMIT])
      sharesOf('a').used(nowMs)
      join('b')
      await stay(5, 'ab')
      expect(of('ab')).toEqual([60, undefined])
      // Also where it has used a smaller one since.
      sharesOf('a').used(nowMs)
      await stay(5, 'ab')
      expect(of('ab')).toEqual([60, undefined])
      // Counted in steps of 10 s.
      await stay(130, 'ab')
      expect([of('ab'), of('ab', day)]).toEqual([
        [60, 60],
        [60, undefined],
      ])
    })

    test('shares what is left of the limit where one has used more than the others may', async () => {
      await start('abcd')
      sharesOf('a').used(nowMs)
      join('e')
      await stay(5, 'abcde')
      expect(of('abcde')).toEqual([24, 24, 24, 24, 17])
    })

    test('that lost its memory is told what the others claim by any that knew, and until then grants nothing more', async () => {
      await start('abc')
      sharesOf('b').used(nowMs)
      sharesOf('b').leave()
      await beat('b')
      await stay(2, 'ac')
      await store.lose()
      aheadMs = 1_000_000
      join('d')
      await stay(9, 'd')
      expect(of('d')).toEqual([undefined])
      // Its first census says that there was another store, and its next what that knew: `c` is still away.
      await stay(11, 'ad')
      expect(of('ad')).toEqual([30, undefined])
      await stay(5, 'ad')
      expect([of('ad'), of('ad', day)]).toEqual([
        [30, 10],
        [30, 10],
      ])
      await stay(14, 'acd')
      expect(of('acd', day)).toEqual([30, 30, 20])
      // What was used counts for no longer by the clock of another store.
      await stay(100, 'acd')
      expect([of('acd'), of('acd', day)]).toEqual([
        [40, 40, 40],
        [30, 30, 20],
      ])
    })

    test('that was told of one that never comes does not keep its place for ever', async () => {
      await start('abc')
      await store.lose()
      await stay(61, 'ab')
      expect(of('ab')).toEqual([40, 40])
      await stay(130, 'ab')
      expect([of('ab'), of('ab', day)]).toEqual([
        [60, 60],
        [40, 40],
      ])
    })

    test('is told again what its answer was lost to', async () => {
      await start('abc')
      await store.lose()
      await beat('a')
      await beat('a', true)
      await store.lose()
      await beat('a')
      await beat('a')
      join('d')
      await stay(12, 'ad')
      // Those who are away have their places.
      expect(of('ad')).toEqual([30, 10])
    })

    test('sends what all claim where it is another thing than was sent before', async () => {
      await start('ab')
      await stay(2, 'ab')
      expect((await beat('a')).table).toBeUndefined()
      sharesOf('b').used(nowMs)
      await beat('b')
      expect((await beat('a')).table).toBeDefined()
      await stay(30, 'ab')
      expect((await beat('a')).table).toBeUndefined()
    })

    test('keeps of very many that have gone what they may have used, as one', async () => {
      await start('a', 100)
      const gone = Array.from({ length: 80 }, (_, index) => `gone ${String(index)}`)
      for (const process of gone) all.set(process, createShares(100))
      for (const process of gone) await beat(process)
      nowMs += 1000
      for (const process of gone) {
        await beat(process)
        sharesOf(process).used(nowMs)
        sharesOf(process).leave()
        await beat(process)
      }
      const { table = '' } = await store.census('b', createShares(100).said(nowMs), nowMs + aheadMs)
      const { entries } = JSON.parse(table) as { entries: Record<string, number[]> }
      expect(Object.keys(entries)).toHaveLength(67)
      expect(entries['*']?.slice(6, 12)).toSatisfy((used: number[]) =>
        used.every((divisor) => divisor > 5 && divisor < 100 / 16 + 0.01),
      )
      // One that is silent may have used its claim until it is found to be.
      nowMs += 61_000
      const later = await store.census('a', createShares(100).said(nowMs), nowMs + aheadMs)
      const { entries: found } = JSON.parse(later.table ?? '') as { entries: typeof entries }
      expect(Object.keys(found)).not.toContain('b')
      expect(found['*']?.[12]).toBe(nowMs + aheadMs)
      join('c', 1)
      await stay(2, 'c')
      expect(of('c', day)[0]).toBeLessThanOrEqual(LIMIT - Math.floor((80 * LIMIT) / 100))
    })

    test('of too many processes grants none of them anything, and hears of no more', async () => {
      await start('a', 2)
      const entry = [...Array.from({ length: 6 }, () => 5000), 0, 0, 0, 0, 0, 0, 0, 0]
      const hear = async (process: string, count: number): Promise<Census> => {
        const many = Array.from({ length: count }, (_, at) => [`one ${String(at)}`, entry])
        const entries = JSON.stringify({ entries: Object.fromEntries(many) as object })
        const known = { atMs: nowMs + aheadMs, entries }
        const said = { ...sharesOf('a').said(nowMs), version: 0, known }
        const census = await store.census(process, said, nowMs + aheadMs)
        if (process === 'a') sharesOf('a').learn(census, nowMs)
        return census
      }
      expect((await hear('a', 999)).claims[0]).toBeGreaterThan(0)
      await hear('b', 2000)
      expect((await hear('a', 0)).claims[0]).toBe(0)
      const { table = '' } = await hear('c', 2000)
      expect(Object.keys((JSON.parse(table) as { entries: object }).entries)).toHaveLength(1001)
    })

    test('grants nothing where next to nothing is left', async () => {
      // 1/2 + 1/3 + 1/7 + 1/43 + 1/1807 is one but for 1/3263442.
      const entries = Object.fromEntries(
        [2, 3, 7, 43, 1807].map((claim) => [
          `one of ${String(claim)}`,
          [claim, claim, claim, claim, claim, claim, 0, 0, 0, 0, 0, 0, 0, 0],
        ]),
      )
      join('a')
      const known = { atMs: nowMs + aheadMs, entries: JSON.stringify({ entries }) }
      await store.census('a', { ...sharesOf('a').said(nowMs), known }, nowMs + aheadMs)
      await stay(12, 'a')
      expect(sharesOf('a').of({ ...day, limit: 1e9 }, leaseMs, nowMs)).toBeUndefined()
    })

    test('takes nothing that it is told of for later than now', async () => {
      await start('a')
      const entry = [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, nowMs, nowMs]
      const known = { atMs: 0, entries: JSON.stringify({ entries: { b: entry } }) }
      const said = { ...sharesOf('a').said(nowMs), version: 0, known }
      const { table = '' } = await store.census('a', said, nowMs + aheadMs)
      const { entries } = JSON.parse(table) as { entries: Record<string, number[]> }
      expect(entries['b']?.slice(12)).toEqual([nowMs + aheadMs, nowMs + aheadMs])
    })

    test('forgets what one has used when no window counts it any more', async () => {
      await start('ab')
      sharesOf('b').used(nowMs)
      sharesOf('b').leave()
      await beat('b')
      nowMs += 372 * 86_400_000
      // With the next change of the table.
      sharesOf('a').used(nowMs)
      const { table = '' } = await beat('a')
      expect(Object.keys((JSON.parse(table) as { entries: object }).entries)).toEqual(['a'])
    })
  })
}
