import { describe, expect, test } from 'vitest'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { Window } from '../../src/quota/quota.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

const startMs = Date.parse('2026-02-02T00:00:00Z')
const hourMs = 3_600_000
const leaseMs = 1_860_000

/** A ledger, and the clocks of its machine: time passes by both, and the one on the wall is set. */
function machine() {
  let [wallMs, tickMs, calls] = [startMs, -1_000_000.5, 0]
  const ledger = createMemoryLedger<string>({ monotonicMs: () => tickMs })
  return {
    ledger,
    set: (byMs: number) => void (wallMs += byMs),
    pass: (byMs: number): void => {
      wallMs += byMs
      tickMs += byMs
    },
    now: () => wallMs,
    reserve: async (window: Window, id = String((calls += 1))) => {
      const unit = window.kind === 'open' ? 'in_flight' : 'tokens'
      const holds = [holdOf(quotaOf({ unit, limit: 100, window }), 100)]
      return ledger.reserve({ id, idempotencyKey: id, holds, context: '', leaseMs }, wallMs)
    },
    end: async (id: string) =>
      ledger.end(id, { kind: 'settled', inputTokens: 100, outputTokens: 0 }, wallMs),
    expire: async () => ledger.expire(wallMs),
  }
}

const sliding: Window = { kind: 'sliding', lengthMs: 60_000 }

describe('a clock that is set back by an hour', () => {
  test.each<[string, Window]>([
    ['sliding', sliding],
    ['fixed', { kind: 'fixed', lengthMs: 60_000 }],
    ['calendar', calendar('minute')],
  ])('draws a %s window out by a hundredth, and says how long it is', async (_, window) => {
    const { set, pass, reserve } = machine()
    expect(await reserve(window)).toMatchObject({ kind: 'held' })
    set(-hourMs)
    const short = await reserve(window)
    if (short.kind !== 'short') throw new Error('held twice')
    const { retryAfterMs = 0 } = short
    // A sliding window has 64 cells, and what the last holds leaves with it.
    expect(retryAfterMs).toBeGreaterThanOrEqual(60_000)
    expect(retryAfterMs).toBeLessThanOrEqual(61_000)
    pass(retryAfterMs)
    expect(await reserve(window)).toMatchObject({ kind: 'short' })
    pass(Math.ceil(retryAfterMs / 99))
    expect(await reserve(window)).toMatchObject({ kind: 'held' })
  })

  test('admits no more than the limit in each minute that passes', async () => {
    const { set, pass, reserve } = machine()
    const heldAtS: number[] = []
    for (let passedS = 0; passedS < 600; passedS += 1) {
      if (passedS === 30) set(-hourMs)
      if ((await reserve(sliding)).kind === 'held') heldAtS.push(passedS)
      pass(1000)
    }
    expect(heldAtS).toHaveLength(10)
    const apartS = heldAtS.slice(1).map((atS, index) => atS - (heldAtS[index] ?? 0))
    expect(Math.min(...apartS)).toBeGreaterThanOrEqual(60)
  })

  test('lets what has ended be forgotten', async () => {
    const { ledger, set, pass, reserve, end, expire } = machine()
    await expire()
    await reserve(sliding, 'a')
    await end('a')
    set(-hourMs)
    pass(59_000)
    await expire()
    expect(ledger.knows('a')).toBe(true)
    for (let turns = 0; turns < 2; turns += 1) {
      pass(60_000)
      await expire()
    }
    expect(ledger.size()).toEqual({ partitions: 0, reservations: 0, idempotencyKeys: 0 })
  })

  test('draws no lease out', async () => {
    const { set, pass, reserve, expire } = machine()
    await reserve({ kind: 'open' }, 'a')
    set(-hourMs)
    pass(leaseMs - 1)
    expect(await expire()).toEqual([])
    expect(await reserve({ kind: 'open' })).toMatchObject({ kind: 'short' })
    pass(1)
    expect(await expire()).toMatchObject([{ reservation: { id: 'a' }, outcome: 'unsettled' }])
    expect(await reserve({ kind: 'open' })).toMatchObject({ kind: 'held' })
  })
})

describe('a clock that is set forward by an hour', () => {
  test('ends no lease, and a report finds what it ends', async () => {
    const { ledger, set, pass, reserve, end, expire, now } = machine()
    await reserve({ kind: 'open' }, 'a')
    pass(1000)
    set(hourMs)
    expect(await expire()).toEqual([])
    expect(await reserve({ kind: 'open' })).toMatchObject({ kind: 'short' })
    expect(await ledger.find('a', now())).toMatchObject({ heldMs: 1000 })
    expect(await end('a')).toMatchObject({ outcome: 'settled', late: false })
  })

  test('leaves a late report as much time as any has', async () => {
    const { set, pass, reserve, end, expire } = machine()
    await reserve(sliding, 'a')
    pass(leaseMs)
    await expire()
    set(hourMs)
    pass(leaseMs - 1)
    await expire()
    expect(await end('a')).toMatchObject({ late: true })
  })

  test('forgets nothing that has just ended', async () => {
    const { ledger, set, reserve, end, expire } = machine()
    await expire()
    await reserve(sliding, 'a')
    await end('a')
    for (let turns = 0; turns < 3; turns += 1) {
      set(hourMs)
      await expire()
    }
    expect(ledger.knows('a')).toBe(true)
  })
})
