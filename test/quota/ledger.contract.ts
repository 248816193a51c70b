import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Balance, End, Ended, Held, Hold, Ledger, Short } from '../../src/quota/ledger.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

/** The start of a UTC day, an hour, a minute and a sub-window of 64,000 ms: figures in the tests come out round. */
const dayMs = Date.parse('2026-02-02T00:00:00Z')
const leaseMs = 10_000_000

const settled = (inputTokens: number, outputTokens: number) => {
  return { kind: 'settled', inputTokens, outputTokens } as const satisfies End
}

/**
 * What every adapter of the ledger port does. Moments are those that the tests pass, so an adapter with a clock
 * of its own is made with one that the tests' moments move.
 */
export function describeLedger(
  name: string,
  makeLedger: () => Ledger<string> | Promise<Ledger<string>>,
): void {
  describe(name, () => {
    let ledger: Ledger<string>
    let count = 0
    beforeEach(async () => {
      ledger = await makeLedger()
      count = 0
    })
    afterEach(() => ledger.close())

    /** Reserves under the next id: r1, r2, ... */
    async function reserve(holds: readonly Hold[], atMs: number, forMs = leaseMs) {
      count += 1
      const id = `r${String(count)}`
      return ledger.reserve(
        { id, idempotencyKey: `key ${id}`, holds, context: id, leaseMs: forMs },
        atMs,
      )
    }

    async function hold(holds: readonly Hold[], atMs: number, forMs = leaseMs) {
      return expectHeld(await reserve(holds, atMs, forMs))
    }

    async function balance(of: Hold, atMs: number): Promise<Balance> {
      const [first] = await ledger.balances([of], atMs)
      if (first === undefined) throw new Error('no balance')
      return first
    }

    describe('a reservation', () => {
      test('holds its amount and says what is left', async () => {
        const quota = quotaOf()
        const held = await hold([holdOf(quota, 60)], dayMs)
        expect(held).toMatchObject({
          repeated: false,
          shadowShort: [],
          reservation: { id: 'r1', context: 'r1', admittedAtEpochMs: dayMs },
          balances: [{ quota, spent: 0, reserved: 60, debt: 0, remaining: 40 }],
        })
      })

      test('fits up to the limit exactly, and not one unit beyond', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 60)], dayMs)
        expectShort(await reserve([holdOf(quota, 41)], dayMs))
        await hold([holdOf(quota, 40)], dayMs)
        expectShort(await reserve([holdOf(quota, 1)], dayMs))
        await hold([holdOf(quota, 0)], dayMs)
      })

      test('that is refused by one quota holds nothing of another', async () => {
        const wide = quotaOf({ name: 'wide', limit: 1000 })
        const narrow = quotaOf({ name: 'narrow', limit: 10 })
        for (const holds of [
          [holdOf(wide, 50), holdOf(narrow, 50)],
          [holdOf(narrow, 50), holdOf(wide, 50)],
        ]) {
          const short = expectShort(await reserve(holds, dayMs))
          expect(short.quota).toBe(narrow)
          expect(short.balances.map(({ reserved }) => reserved)).toEqual([0, 0])
        }
        expect(await balance(holdOf(wide, 0), dayMs)).toMatchObject({
          reserved: 0,
          remaining: 1000,
        })
      })

      test('counts together what one request holds twice of a partition', async () => {
        const quota = quotaOf()
        expectShort(await reserve([holdOf(quota, 60), holdOf(quota, 60)], dayMs))
        const held = await hold([holdOf(quota, 60), holdOf(quota, 40)], dayMs)
        expect(held.balances.map(({ remaining }) => remaining)).toEqual([0, 0])
      })

      test('of one partition leaves another alone', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 100, 'a')], dayMs)
        await hold([holdOf(quota, 100, 'b')], dayMs)
        expect(await balance(holdOf(quota, 0, 'c'), dayMs)).toMatchObject({ remaining: 100 })
      })

      test('admits exactly as many of 64 at once as fit', async () => {
        const quota = quotaOf({ limit: 8 * 7 + 6, window: calendar('day') })
        const answers = await Promise.all(
          Array.from({ length: 64 }, () => reserve([holdOf(quota, 7)], dayMs)),
        )
        expect(answers.filter(({ kind }) => kind === 'held')).toHaveLength(8)
      })

      test('keeps amounts near 2^53 exactly', async () => {
        const limit = Number.MAX_SAFE_INTEGER
        const quota = quotaOf({ limit })
        await hold([holdOf(quota, limit - 1)], dayMs)
        expectShort(await reserve([holdOf(quota, 2)], dayMs))
        await hold([holdOf(quota, 1)], dayMs)
        await ledger.end('r1', settled(2, 0), dayMs)
        expect(await balance(holdOf(quota, 0), dayMs)).toMatchObject({
          spent: 2,
          reserved: 1,
          remaining: limit - 3,
        })
      })

      test.each([-1, 0.5, NaN, Infinity, 2 ** 53])(
        'of %d units is misuse and changes nothing',
        async (amount) => {
          const quota = quotaOf({ limit: Number.MAX_SAFE_INTEGER })
          await expect(reserve([holdOf(quota, 5), holdOf(quota, amount)], dayMs)).rejects.toThrow(
            `amount ${String(amount)} must be a whole number >= 0 and <= 2^53 - 1`,
          )
          expect(await balance(holdOf(quota, 0), dayMs)).toMatchObject({ reserved: 0 })
          expect(await ledger.find('r1', dayMs)).toBeUndefined()
        },
      )
    })

    describe('the same idempotency key', () => {
      const request = (id: string, amount: number) => ({
        id,
        idempotencyKey: 'stream 1',
        holds: [holdOf(quotaOf(), amount)],
        context: id,
        leaseMs,
      })

      test('answers with the first reservation and holds nothing more', async () => {
        await ledger.reserve(request('first', 60), dayMs)
        const again = expectHeld(await ledger.reserve(request('second', 90), dayMs + 1))
        expect(again).toMatchObject({
          repeated: true,
          reservation: { id: 'first', context: 'first', admittedAtEpochMs: dayMs },
          balances: [{ reserved: 60, remaining: 40 }],
        })
        expect(await ledger.find('second', dayMs + 1)).toBeUndefined()
      })

      test('is free again after a refusal', async () => {
        expectShort(await ledger.reserve(request('first', 101), dayMs))
        expect(await ledger.reserve(request('second', 100), dayMs)).toMatchObject({
          kind: 'held',
          repeated: false,
          reservation: { id: 'second' },
        })
      })

      test('charges nothing twice when it overtakes the report', async () => {
        await ledger.reserve(request('first', 60), dayMs)
        await ledger.end('first', settled(10, 20), dayMs + 1)
        const again = expectHeld(await ledger.reserve(request('second', 60), dayMs + 2))
        expect(again).toMatchObject({ repeated: true, balances: [{ spent: 30, reserved: 0 }] })
        expect(await ledger.end('second', settled(10, 20), dayMs + 3)).toBeUndefined()
      })

      test('holds anew when the first was released, for nothing else would charge it', async () => {
        await ledger.reserve(request('first', 60), dayMs)
        await ledger.end('first', { kind: 'released' }, dayMs + 1)
        const again = expectHeld(await ledger.reserve(request('second', 60), dayMs + 2))
        expect(again).toMatchObject({ repeated: false, reservation: { id: 'second' } })
        expect(again).toMatchObject({ balances: [{ spent: 0, reserved: 60 }] })
      })

      test('keeps its reservation when one of two answers is abandoned', async () => {
        await ledger.reserve(request('first', 60), dayMs)
        await ledger.reserve(request('second', 60), dayMs + 1)
        expect(await ledger.abandon('first', dayMs + 2)).toBeUndefined()
        expect(await ledger.balances([holdOf(quotaOf(), 0)], dayMs + 2)).toMatchObject([
          { reserved: 60 },
        ])
      })

      test('releases its reservation with the last of its answers, however often one is said to be lost', async () => {
        const first = expectHeld(await ledger.reserve(request('first', 60), dayMs))
        const second = expectHeld(await ledger.reserve(request('second', 60), dayMs + 1))
        for (let times = 0; times < 2; times += 1) {
          expect(await ledger.abandon('first', dayMs + 2, second.carrier)).toBeUndefined()
        }
        const third = expectHeld(await ledger.reserve(request('third', 60), dayMs + 2))
        expect(third).toMatchObject({ repeated: true, balances: [{ reserved: 60 }] })
        expect(await ledger.abandon('first', dayMs + 3, first.carrier)).toBeUndefined()
        expect(await ledger.abandon('first', dayMs + 3, third.carrier)).toMatchObject({
          outcome: 'released',
          reservation: { id: 'first' },
        })
        expect(await ledger.abandon('first', dayMs + 3, third.carrier)).toBeUndefined()
        expect(await balance(holdOf(quotaOf(), 0), dayMs + 3)).toMatchObject({ reserved: 0 })
        expect(await ledger.reserve(request('fourth', 60), dayMs + 4)).toMatchObject({
          repeated: false,
        })
      })

      test('with more answers than are remembered is ended by its report alone', async () => {
        const ids = Array.from({ length: 17 }, (_, index) => `call ${String(index)}`)
        for (const id of ids) expectHeld(await ledger.reserve(request(id, 60), dayMs))
        const [first = ''] = ids
        for (const id of ids) expect(await ledger.abandon(first, dayMs + 1, id)).toBeUndefined()
        expect(await ledger.end(first, settled(10, 20), dayMs + 2)).toMatchObject({
          outcome: 'settled',
        })
      })

      test('is never said to be exhausted by its own reservation', async () => {
        await ledger.reserve(request('first', 100), dayMs)
        expect(await ledger.exhausted(request('second', 1), dayMs)).toBeUndefined()
        const other = { ...request('second', 1), idempotencyKey: 'stream 2' }
        expect(await ledger.exhausted(other, dayMs)).toMatchObject({ kind: 'short' })
        await ledger.end('first', settled(50, 50), dayMs + 1)
        expect(await ledger.exhausted(request('second', 1), dayMs + 1)).toBeUndefined()
      })

      test('is still known after the lease ran out', async () => {
        await ledger.reserve({ ...request('first', 60), leaseMs: 5 }, dayMs)
        await ledger.expire(dayMs + 5)
        const again = expectHeld(await ledger.reserve(request('second', 60), dayMs + 6))
        expect(again).toMatchObject({ repeated: true, balances: [{ spent: 60, reserved: 0 }] })
      })

      test('never shares a reservation id with another key', async () => {
        await ledger.reserve(request('first', 1), dayMs)
        await expect(
          ledger.reserve({ ...request('first', 1), idempotencyKey: 'stream 2' }, dayMs),
        ).rejects.toThrow('the reservation id is in use')
      })
    })

    describe('an abandoned reservation', () => {
      test('is released, once', async () => {
        await hold([holdOf(quotaOf(), 60)], dayMs)
        expect(await ledger.abandon('r1', dayMs + 1)).toMatchObject({
          outcome: 'released',
          charges: [{ actual: 0, debt: 0 }],
        })
        expect(await balance(holdOf(quotaOf(), 0), dayMs + 1)).toMatchObject({ reserved: 0 })
        expect(await ledger.abandon('r1', dayMs + 2)).toBeUndefined()
        expect(await ledger.end('r1', settled(10, 15), dayMs + 3)).toBeUndefined()
      })

      test('that ended already, or is unknown, changes nothing', async () => {
        await hold([holdOf(quotaOf(), 60)], dayMs)
        await ledger.end('r1', settled(10, 15), dayMs + 1)
        expect(await ledger.abandon('r1', dayMs + 2)).toBeUndefined()
        expect(await ledger.abandon('other', dayMs + 2)).toBeUndefined()
        expect(await balance(holdOf(quotaOf(), 0), dayMs + 2)).toMatchObject({ spent: 25 })
      })
    })

    describe('an end', () => {
      const quota = quotaOf()

      test('below the reservation gives the rest back', async () => {
        await hold([holdOf(quota, 60)], dayMs)
        const ended = await ledger.end('r1', settled(10, 15), dayMs + 1)
        expect(ended).toMatchObject({
          outcome: 'settled',
          late: false,
          reservation: { id: 'r1', context: 'r1' },
          charges: [{ actual: 25, debt: 0 }],
        })
        expect(await balance(holdOf(quota, 0), dayMs + 1)).toMatchObject({
          spent: 25,
          reserved: 0,
          remaining: 75,
        })
      })

      test('above the reservation makes the excess a debt', async () => {
        await hold([holdOf(quota, 60)], dayMs)
        const ended = await ledger.end('r1', settled(50, 25), dayMs + 1)
        expect(ended).toMatchObject({ charges: [{ actual: 75, debt: 15 }] })
        expect(await balance(holdOf(quota, 0), dayMs + 1)).toMatchObject({
          spent: 60,
          reserved: 0,
          debt: 15,
          remaining: 25,
        })
      })

      test('that is estimated counts like one that is settled', async () => {
        await hold([holdOf(quota, 60)], dayMs)
        const end: End = { kind: 'estimated', inputTokens: 20, outputTokens: 30 }
        expect(await ledger.end('r1', end, dayMs)).toMatchObject({
          outcome: 'estimated',
          charges: [{ actual: 50, debt: 0 }],
        })
        expect(await balance(holdOf(quota, 0), dayMs)).toMatchObject({ spent: 50, reserved: 0 })
      })

      test('that releases gives everything back, requests too', async () => {
        const requests = quotaOf({ name: 'requests', unit: 'requests', limit: 1 })
        await hold([holdOf(quota, 60), holdOf(requests, 1)], dayMs)
        expect(await ledger.end('r1', { kind: 'released' }, dayMs)).toMatchObject({
          outcome: 'released',
          charges: [
            { actual: 0, debt: 0 },
            { actual: 0, debt: 0 },
          ],
        })
        await hold([holdOf(quota, 100), holdOf(requests, 1)], dayMs)
      })

      test('takes effect once, whatever is said the second time', async () => {
        await hold([holdOf(quota, 60)], dayMs)
        await ledger.end('r1', settled(10, 15), dayMs)
        for (const end of [settled(90, 90), { kind: 'released' } as const, settled(0, 0)]) {
          expect(await ledger.end('r1', end, dayMs)).toBeUndefined()
        }
        expect(await balance(holdOf(quota, 0), dayMs)).toMatchObject({ spent: 25, debt: 0 })
      })

      test('takes effect once when many come at the same time', async () => {
        await hold([holdOf(quota, 60)], dayMs)
        const answers = await Promise.all(
          Array.from({ length: 20 }, () => ledger.end('r1', settled(50, 25), dayMs)),
        )
        expect(answers.filter((answer) => answer !== undefined)).toHaveLength(1)
        expect(await balance(holdOf(quota, 0), dayMs)).toMatchObject({ spent: 60, debt: 15 })
      })

      test('of an unknown id changes nothing', async () => {
        await hold([holdOf(quota, 60)], dayMs)
        expect(await ledger.end('guessed', { kind: 'released' }, dayMs)).toBeUndefined()
        expect(await balance(holdOf(quota, 0), dayMs)).toMatchObject({ reserved: 60 })
      })

      test('settles every hold in its own unit', async () => {
        const requests = quotaOf({ name: 'requests', unit: 'requests', limit: 9 })
        const parallel = quotaOf({
          name: 'parallel',
          unit: 'in_flight',
          limit: 2,
          window: { kind: 'open' },
        })
        await hold([holdOf(quota, 60), holdOf(requests, 1), holdOf(parallel, 1)], dayMs)
        const ended = await ledger.end('r1', settled(50, 20), dayMs)
        expect(ended?.charges).toEqual([
          { actual: 70, debt: 10 },
          { actual: 1, debt: 0 },
          { actual: 1, debt: 0 },
        ])
        expect(await balance(holdOf(requests, 0), dayMs)).toMatchObject({ spent: 1, reserved: 0 })
        expect(await balance(holdOf(parallel, 0), dayMs)).toMatchObject({
          spent: 0,
          reserved: 0,
          remaining: 2,
          resetMs: 0,
        })
      })

      test('in a unit of which nobody knows what it came to, came to what it held', async () => {
        const cost = quotaOf({ name: 'cost', unit: 'cost', limit: 100_000_000 })
        const holds = [holdOf(cost, 1_250_000), holdOf(quotaOf(), 10)]
        await hold(holds, dayMs)
        const unpriced = await ledger.end('r1', settled(4, 1), dayMs)
        expect(unpriced?.charges).toEqual([
          { actual: 1_250_000, debt: 0 },
          { actual: 5, debt: 0 },
        ])
        await hold(holds, dayMs)
        const priced = await ledger.end('r2', { ...settled(4, 1), costMicros: 1_250_007 }, dayMs)
        expect(priced?.charges[0]).toEqual({ actual: 1_250_007, debt: 7 })
        const left = 100_000_000 - 2 * 1_250_000 - 7
        expect(await balance(holdOf(cost, 0), dayMs)).toMatchObject({ remaining: left })
      })

      test('after its window passed gives nothing back, but owes the excess', async () => {
        const day = quotaOf({ name: 'day', window: calendar('day') })
        await hold([holdOf(quota, 60), holdOf(day, 60)], dayMs)
        const nextDayMs = dayMs + 86_400_000
        await hold([holdOf(quota, 30), holdOf(day, 30)], nextDayMs, leaseMs)
        await ledger.end('r1', settled(0, 80), nextDayMs)
        for (const of of [quota, day]) {
          expect(await balance(holdOf(of, 0), nextDayMs)).toMatchObject({
            spent: 0,
            reserved: 30,
            debt: 20,
            remaining: 50,
          })
        }
      })
    })

    describe('a lease that runs out', () => {
      const quota = quotaOf()
      const parallel = quotaOf({
        name: 'parallel',
        unit: 'in_flight',
        limit: 1,
        window: { kind: 'open' },
      })

      test('keeps the whole reservation as spent and frees what is in flight', async () => {
        await hold([holdOf(quota, 60), holdOf(parallel, 1)], dayMs, 1000)
        expect(await ledger.expire(dayMs + 999)).toEqual([])
        const ended = await ledger.expire(dayMs + 1000)
        expect(ended).toMatchObject([
          {
            outcome: 'unsettled',
            late: false,
            reservation: { id: 'r1', context: 'r1' },
            charges: [
              { actual: 60, debt: 0 },
              { actual: 1, debt: 0 },
            ],
          },
        ])
        expect(await balance(holdOf(quota, 0), dayMs + 1000)).toMatchObject({
          spent: 60,
          reserved: 0,
        })
        await hold([holdOf(parallel, 1)], dayMs + 1000)
      })

      test('is told once', async () => {
        await hold([holdOf(quota, 60)], dayMs, 1000)
        expect(await ledger.expire(dayMs + 1000)).toHaveLength(1)
        expect(await ledger.expire(dayMs + 1001)).toEqual([])
      })

      test('runs by its own length, whichever came first', async () => {
        await hold([holdOf(quota, 1)], dayMs, 3000)
        await hold([holdOf(quota, 1)], dayMs + 1, 1000)
        await hold([holdOf(quota, 1)], dayMs + 2, 2000)
        const ids = (ended: readonly Ended<string>[]) =>
          ended.map(({ reservation }) => reservation.id)
        expect(ids(await ledger.expire(dayMs + 1001))).toEqual(['r2'])
        expect(ids(await ledger.expire(dayMs + 2002))).toEqual(['r3'])
        expect(ids(await ledger.expire(dayMs + 3000))).toEqual(['r1'])
      })

      test('does not concern a reservation that was ended', async () => {
        await hold([holdOf(quota, 60)], dayMs, 1000)
        await ledger.end('r1', settled(1, 1), dayMs + 999)
        expect(await ledger.expire(dayMs + 5000)).toEqual([])
        expect(await balance(holdOf(quota, 0), dayMs + 5000)).toMatchObject({ spent: 2 })
      })

      test('lets a late report settle, once', async () => {
        await hold([holdOf(quota, 60), holdOf(parallel, 1)], dayMs, 1000)
        await ledger.expire(dayMs + 1000)
        await hold([holdOf(parallel, 1)], dayMs + 1000)
        expect(await ledger.find('r1', dayMs + 1500)).toMatchObject({ context: 'r1' })
        const late = await ledger.end('r1', settled(20, 5), dayMs + 1500)
        expect(late).toMatchObject({
          outcome: 'settled',
          late: true,
          charges: [{ actual: 25 }, {}],
        })
        expect(await ledger.end('r1', settled(20, 5), dayMs + 1500)).toBeUndefined()
        expect(await balance(holdOf(quota, 0), dayMs + 1500)).toMatchObject({
          spent: 25,
          reserved: 0,
          debt: 0,
        })
        // The late report is not the end of the other request that is in flight.
        expect(await balance(holdOf(parallel, 0), dayMs + 1500)).toMatchObject({ reserved: 1 })
      })

      test('lets a late report owe the excess', async () => {
        await hold([holdOf(quota, 60)], dayMs, 1000)
        await ledger.expire(dayMs + 1000)
        const late = await ledger.end('r1', settled(60, 20), dayMs + 1500)
        expect(late).toMatchObject({ late: true, charges: [{ actual: 80, debt: 20 }] })
        expect(await balance(holdOf(quota, 0), dayMs + 1500)).toMatchObject({ spent: 60, debt: 20 })
      })

      test('lets a late release give everything back', async () => {
        await hold([holdOf(quota, 60)], dayMs, 1000)
        await ledger.expire(dayMs + 1000)
        await ledger.end('r1', { kind: 'released' }, dayMs + 1500)
        expect(await balance(holdOf(quota, 0), dayMs + 1500)).toMatchObject({ remaining: 100 })
      })

      test('is remembered for one more lease and no longer', async () => {
        await hold([holdOf(quota, 60)], dayMs, 1000)
        await ledger.expire(dayMs + 1000)
        await ledger.expire(dayMs + 1999)
        expect(await ledger.find('r1', dayMs + 1999)).toBeDefined()
        await ledger.expire(dayMs + 2000)
        expect(await ledger.find('r1', dayMs + 2000)).toBeUndefined()
        expect(await ledger.end('r1', settled(1, 0), dayMs + 2000)).toBeUndefined()
        expect(await balance(holdOf(quota, 0), dayMs + 2000)).toMatchObject({ spent: 60 })
      })
    })

    test('finds a reservation until it is ended', async () => {
      await hold([holdOf(quotaOf(), 60)], dayMs)
      expect(await ledger.find('r1', dayMs)).toMatchObject({ id: 'r1', context: 'r1' })
      expect(await ledger.find('guessed', dayMs)).toBeUndefined()
      await ledger.end('r1', settled(1, 1), dayMs)
      expect(await ledger.find('r1', dayMs)).toBeUndefined()
    })

    test('says for how long a reservation has been held, until it is ended', async () => {
      await hold([holdOf(quotaOf(), 60)], dayMs, 1000)
      expect(await ledger.find('r1', dayMs)).toMatchObject({ heldMs: 0 })
      expect(await ledger.find('r1', dayMs + 900)).toMatchObject({ heldMs: 900 })
      await ledger.expire(dayMs + 1000)
      expect(await ledger.find('r1', dayMs + 1500)).toMatchObject({ heldMs: 1500 })
    })

    describe('a sliding window', () => {
      // 64 sub-windows of 1000 ms.
      const quota = quotaOf()

      test('counts an admission for its length, and at most a sub-window longer', async () => {
        await hold([holdOf(quota, 100)], dayMs + 300)
        const short = expectShort(await reserve([holdOf(quota, 1)], dayMs + 300))
        expect(short.retryAfterMs).toBe(65_000 - 300)
        expectShort(await reserve([holdOf(quota, 1)], dayMs + 300 + 64_000))
        expectShort(await reserve([holdOf(quota, 1)], dayMs + 64_999))
        await hold([holdOf(quota, 1)], dayMs + 65_000)
      })

      test('says when as much as is missing will have left, where some is left over', async () => {
        await hold([holdOf(quota, 50)], dayMs)
        await hold([holdOf(quota, 30)], dayMs + 10_000)
        const waits = []
        for (const amount of [21, 70, 71, 100]) {
          waits.push(
            expectShort(await reserve([holdOf(quota, amount)], dayMs + 20_000)).retryAfterMs,
          )
        }
        expect(waits).toEqual([45_000, 45_000, 55_000, 55_000])
      })

      test('says when as much as is asked will have left, not when all has', async () => {
        await hold([holdOf(quota, 50)], dayMs)
        await hold([holdOf(quota, 30)], dayMs + 10_000)
        await hold([holdOf(quota, 20)], dayMs + 20_000)
        const waits = []
        for (const amount of [1, 50, 51, 80, 81, 100]) {
          waits.push(
            expectShort(await reserve([holdOf(quota, amount)], dayMs + 20_000)).retryAfterMs,
          )
        }
        expect(waits).toEqual([45_000, 45_000, 55_000, 55_000, 65_000, 65_000])
        expect(await balance(holdOf(quota, 0), dayMs + 20_000)).toMatchObject({ resetMs: 65_000 })
      })

      test('lets a debt fall linearly by the limit per length', async () => {
        await hold([holdOf(quota, 0)], dayMs)
        await ledger.end('r1', settled(150, 0), dayMs)
        const debts = []
        for (const atMs of [0, 1, 640, 32_000, 64_000, 95_999, 96_000]) {
          debts.push((await balance(holdOf(quota, 0), dayMs + atMs)).debt)
        }
        expect(debts).toEqual([150, 150, 149, 100, 50, 1, 0])
      })

      test('subtracts the debt from the limit and says when it will have fallen far enough', async () => {
        await hold([holdOf(quota, 0)], dayMs)
        await ledger.end('r1', settled(150, 0), dayMs)
        const short = expectShort(await reserve([holdOf(quota, 10)], dayMs))
        expect(short.retryAfterMs).toBe((60 * 64_000) / 100)
        expectShort(await reserve([holdOf(quota, 10)], dayMs + 38_399))
        await hold([holdOf(quota, 10)], dayMs + 38_400)
      })

      test('says the moment at which an admission leaves, if the debt has fallen far enough by then', async () => {
        // The debt falls by 1 a millisecond. It would fit beside the admission a millisecond after that has left.
        const quick = quotaOf({ name: 'quick', limit: 64_000 })
        await hold([holdOf(quick, 30_000)], dayMs)
        await ledger.end('r1', settled(30_000, 24_000 + 65_001), dayMs)
        const short = expectShort(await reserve([holdOf(quick, 10_000)], dayMs))
        expect(short.retryAfterMs).toBe(65_000)
      })

      test('loses no part of a unit of debt however often it is looked at', async () => {
        const slow = quotaOf({
          name: 'slow',
          limit: 3,
          window: { kind: 'sliding', lengthMs: 1009 },
        })
        await hold([holdOf(slow, 0)], dayMs)
        await ledger.end('r1', settled(9, 0), dayMs)
        for (let atMs = 1; atMs <= 3 * 1009; atMs += 1) {
          const { debt } = await balance(holdOf(slow, 0), dayMs + atMs)
          expect(debt).toBe(9 - Math.floor((3 * atMs) / 1009))
        }
      })
    })

    describe('a calendar window', () => {
      test.each([
        ['minute', 60_000],
        ['hour', 3_600_000],
        ['day', 86_400_000],
        ['week', 7 * 86_400_000],
        ['month', 27 * 86_400_000],
        ['year', 333 * 86_400_000],
      ] as const)('of a %s counts to its boundary and no further', async (period, toBoundaryMs) => {
        const quota = quotaOf({ window: calendar(period) })
        await hold([holdOf(quota, 100)], dayMs)
        const lastMs = dayMs + toBoundaryMs - 1
        const short = expectShort(await reserve([holdOf(quota, 100)], lastMs))
        expect(short.retryAfterMs).toBe(1)
        await hold([holdOf(quota, 100)], lastMs + 1)
        expectShort(await reserve([holdOf(quota, 1)], lastMs + 1))
      })

      test('lets a debt fall by the limit at each boundary', async () => {
        const quota = quotaOf({ window: calendar('day') })
        await hold([holdOf(quota, 0)], dayMs + 5)
        await ledger.end('r1', settled(250, 0), dayMs + 5)
        const short = expectShort(await reserve([holdOf(quota, 60)], dayMs + 5))
        expect(short.retryAfterMs).toBe(3 * 86_400_000 - 5)
        expect(expectShort(await reserve([holdOf(quota, 50)], dayMs + 5)).retryAfterMs).toBe(
          2 * 86_400_000 - 5,
        )
        const debts = []
        for (const day of [0, 0.99, 1, 1.5, 2, 3]) {
          debts.push((await balance(holdOf(quota, 0), dayMs + day * 86_400_000)).debt)
        }
        expect(debts).toEqual([250, 250, 150, 150, 50, 0])
      })

      test('of a day follows the time zone', async () => {
        const quota = quotaOf({ window: calendar('day', 'Europe/Berlin') })
        // The day on which summer time begins lasts 23 hours.
        const midnightMs = Date.parse('2026-03-28T23:00:00Z')
        await hold([holdOf(quota, 100)], midnightMs)
        const short = expectShort(await reserve([holdOf(quota, 1)], midnightMs))
        expect(short.retryAfterMs).toBe(23 * 3_600_000)
      })
    })

    describe('a fixed window', () => {
      const weekMs = 7 * 86_400_000
      const quota = quotaOf({ window: { kind: 'fixed', lengthMs: weekMs } })
      // Multiples of a week since 1970 are Thursdays.
      const boundaryMs = Date.parse('2026-02-05T00:00:00Z')

      test('counts to the next multiple of its length and no further', async () => {
        await hold([holdOf(quota, 100)], dayMs)
        const short = expectShort(await reserve([holdOf(quota, 1)], dayMs))
        expect(short.retryAfterMs).toBe(boundaryMs - dayMs)
        expectShort(await reserve([holdOf(quota, 1)], boundaryMs - 1))
        await hold([holdOf(quota, 100)], boundaryMs)
        const next = expectShort(await reserve([holdOf(quota, 1)], boundaryMs))
        expect(next.retryAfterMs).toBe(weekMs)
      })

      test('lets a debt fall by the limit at each boundary', async () => {
        await hold([holdOf(quota, 0)], dayMs)
        await ledger.end('r1', settled(250, 0), dayMs)
        const debts = []
        for (const atMs of [dayMs, boundaryMs - 1, boundaryMs, boundaryMs + weekMs]) {
          debts.push((await balance(holdOf(quota, 0), atMs)).debt)
        }
        expect(debts).toEqual([250, 250, 150, 50])
        const lastMs = boundaryMs + 2 * weekMs
        expect((await balance(holdOf(quota, 0), lastMs - 1)).debt).toBe(50)
        expect((await balance(holdOf(quota, 0), lastMs)).debt).toBe(0)
      })

      test('says when a debt will have fallen far enough, many windows ahead', async () => {
        await hold([holdOf(quota, 0)], dayMs)
        await ledger.end('r1', settled(100_000, 0), dayMs)
        const short = expectShort(await reserve([holdOf(quota, 100)], dayMs))
        expect(short.retryAfterMs).toBe(boundaryMs + 999 * weekMs - dayMs)
      })

      test('keeps what was spent when its length changes', async () => {
        await hold([holdOf(quota, 60)], dayMs)
        const shorter = { ...quota, window: { kind: 'fixed', lengthMs: 60_000 } } as const
        const short = expectShort(await reserve([holdOf(shorter, 50)], dayMs + 1))
        expect(short.retryAfterMs).toBe(59_999)
      })
    })

    describe('an open window', () => {
      const quota = quotaOf({ unit: 'in_flight', limit: 2, window: { kind: 'open' } })

      test('counts whatever is under way, however long, until it ends', async () => {
        await hold([holdOf(quota, 1)], dayMs, 10 ** 9)
        await hold([holdOf(quota, 1)], dayMs, 10 ** 9)
        const lateMs = dayMs + 10 ** 9 - 1
        const short = expectShort(await reserve([holdOf(quota, 1)], lateMs))
        expect(short).toMatchObject({
          retryAfterMs: 1000,
          balances: [{ resetMs: 1000, reserved: 2 }],
        })
        await ledger.end('r1', settled(1, 1), lateMs)
        await hold([holdOf(quota, 1)], lateMs)
        expectShort(await reserve([holdOf(quota, 1)], lateMs))
      })
    })

    describe('a shortage', () => {
      test('of more than the limit never ends, even where another quota is short for a while', async () => {
        const small = quotaOf({ name: 'small', limit: 10 })
        const empty = quotaOf({ name: 'empty' })
        await hold([holdOf(empty, 100)], dayMs)
        const short = expectShort(await reserve([holdOf(empty, 11), holdOf(small, 11)], dayMs))
        expect(short.quota).toBe(small)
        expect(short.retryAfterMs).toBeUndefined()
      })

      test('names the quota that is short for longest', async () => {
        const day = quotaOf({ name: 'day', window: calendar('day') })
        const minute = quotaOf()
        await hold([holdOf(minute, 100), holdOf(day, 100)], dayMs)
        const short = expectShort(await reserve([holdOf(minute, 1), holdOf(day, 1)], dayMs))
        expect(short.quota).toBe(day)
        expect(short.retryAfterMs).toBe(86_400_000)
      })

      test('costs nothing, however often it is met', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 90)], dayMs)
        for (let tries = 0; tries < 20; tries += 1) {
          expectShort(await reserve([holdOf(quota, 11)], dayMs))
        }
        await hold([holdOf(quota, 10)], dayMs)
      })
    })

    describe('a shadow quota', () => {
      const shadow = quotaOf({ name: 'shadow', limit: 10, shadow: true })

      test('never refuses, but records and tells', async () => {
        await hold([holdOf(shadow, 10)], dayMs)
        const held = await hold([holdOf(shadow, 7)], dayMs)
        expect(held.shadowShort).toEqual([shadow])
        expect(held.balances).toMatchObject([{ reserved: 17, remaining: 0 }])
        await ledger.end('r2', settled(9, 0), dayMs)
        expect(await balance(holdOf(shadow, 0), dayMs)).toMatchObject({ spent: 7, debt: 2 })
      })

      test('does not hold back a request larger than its limit', async () => {
        expect((await hold([holdOf(shadow, 11)], dayMs)).shadowShort).toEqual([shadow])
      })

      test('holds nothing when another quota refuses', async () => {
        expectShort(await reserve([holdOf(shadow, 5), holdOf(quotaOf(), 101)], dayMs))
        expect(await balance(holdOf(shadow, 0), dayMs)).toMatchObject({ reserved: 0 })
      })

      test('loses nothing of its figures beyond 2^53', async () => {
        const huge = Number.MAX_SAFE_INTEGER
        await hold([holdOf(shadow, 3)], dayMs)
        for (let times = 0; times < 3; times += 1) await hold([holdOf(shadow, huge)], dayMs)
        for (const id of ['r2', 'r3', 'r4']) await ledger.end(id, { kind: 'released' }, dayMs)
        expect(await balance(holdOf(shadow, 0), dayMs)).toMatchObject({ spent: 0, reserved: 3 })
      })
    })

    describe('what is exhausted', () => {
      /** What is told without reserving, of a key that nobody has. */
      const look = (holds: readonly Hold[], atMs: number) =>
        ledger.exhausted({ holds, idempotencyKey: 'asked' }, atMs)

      test('is a quota without anything left, and when a unit will be', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 99)], dayMs)
        expect(await look([holdOf(quota, 50)], dayMs)).toBeUndefined()
        await hold([holdOf(quota, 1)], dayMs + 1000)
        expect(await look([holdOf(quota, 1)], dayMs + 1000)).toMatchObject({
          kind: 'short',
          quota,
          retryAfterMs: 64_000,
          balances: [{ remaining: 0 }],
        })
      })

      test('keeps nobody out who holds nothing of it', async () => {
        const other = quotaOf({ name: 'other' })
        const quota = quotaOf()
        await hold([holdOf(quota, 100), holdOf(other, 100)], dayMs)
        expect(await look([holdOf(quota, 0)], dayMs)).toBeUndefined()
        expect(await look([holdOf(quota, 0), holdOf(other, 1)], dayMs)).toMatchObject({
          quota: other,
        })
      })

      test('tells when the whole amount will fit', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 10)], dayMs)
        await hold([holdOf(quota, 90)], dayMs + 10_000)
        const waitFor = async (amount: number) => look([holdOf(quota, amount)], dayMs + 10_000)
        expect(await waitFor(1)).toMatchObject({ retryAfterMs: 55_000 })
        expect(await waitFor(10)).toMatchObject({ retryAfterMs: 55_000 })
        expect(await waitFor(11)).toMatchObject({ retryAfterMs: 65_000 })
        expect(await waitFor(101)).toMatchObject({ retryAfterMs: undefined })
      })

      test('tells the wait for all that is short, also where something is left', async () => {
        const [minute, hour] = [quotaOf(), quotaOf({ name: 'hour', window: calendar('hour') })]
        await hold([holdOf(minute, 100), holdOf(hour, 60)], dayMs)
        const holds = (amount: number) => [holdOf(minute, 10), holdOf(hour, amount)]
        expect(await look(holds(40), dayMs)).toMatchObject({ quota: minute, retryAfterMs: 65_000 })
        // A reserve tells all ledgers all that they need for this.
        const short = expectShort(await reserve(holds(41), dayMs))
        expect(short).toMatchObject({ quota: hour, retryAfterMs: 3_600_000 })
        expect(await look(holds(41), dayMs)).toEqual(short)
        expect(await look([holdOf(hour, 20), ...holds(21)], dayMs)).toMatchObject({ quota: hour })
        expect(await look(holds(101), dayMs)).toMatchObject({
          quota: hour,
          retryAfterMs: undefined,
        })
        // Nothing is used up.
        expect(await look([holdOf(hour, 41)], dayMs)).toBeUndefined()
      })

      test('tells for two holds in one partition no other wait than their refusal', async () => {
        const [minute, hour] = [
          quotaOf(),
          quotaOf({ name: 'hour', window: { kind: 'sliding', lengthMs: 3_840_000 } }),
        ]
        for (const atMs of [0, 120_000]) await hold([holdOf(hour, 30)], dayMs + atMs)
        await hold([holdOf(minute, 100)], dayMs + 120_000)
        const holds = [holdOf(hour, 20), holdOf(hour, 21), holdOf(minute, 1)]
        const told = await look(holds, dayMs + 120_000)
        const short = expectShort(await reserve(holds, dayMs + 120_000))
        expect(short).toMatchObject({ quota: hour, retryAfterMs: 3_780_000 })
        // A ledger that was told of the newest cell alone says nothing.
        expect([undefined, short.retryAfterMs]).toContain(told?.retryAfterMs)
      })

      test('tells a caller with a lower limit in the same partition no other wait than its refusal', async () => {
        const high = quotaOf({ limit: 1000, limitCarried: true })
        const low = quotaOf({ limit: 50, limitCarried: true })
        for (const atMs of [0, 3000, 6000, 9000, 12_000])
          await hold([holdOf(high, 20)], dayMs + atMs)
        const holds = [holdOf(low, 10)]
        const told = await look(holds, dayMs + 15_000)
        const short = expectShort(await reserve(holds, dayMs + 15_000))
        expect(short.retryAfterMs).toBe(56_000)
        // A ledger that was told of the newest cell alone says nothing.
        expect([undefined, 56_000]).toContain(told?.retryAfterMs)
        expect(await look(holds, dayMs + 15_000)).toMatchObject({ retryAfterMs: 56_000 })
      })

      test('is never a shadow quota', async () => {
        const shadow = quotaOf({ name: 'shadow', shadow: true })
        const quota = quotaOf()
        await hold([holdOf(shadow, 500), holdOf(quota, 100)], dayMs)
        expect(await look([holdOf(shadow, 1)], dayMs)).toBeUndefined()
        expect(await look([holdOf(shadow, 500), holdOf(quota, 1)], dayMs)).toMatchObject({ quota })
        // Nor does one keep it untold that has too little left.
        const roomy = quotaOf({ name: 'roomy', shadow: true })
        for (const atMs of [0, 5000]) await hold([holdOf(roomy, 10)], dayMs + atMs)
        const later = await look([holdOf(roomy, 90), holdOf(quota, 1)], dayMs + 5000)
        expect(later).toMatchObject({ quota, retryAfterMs: 60_000 })
      })

      test('is a partition that owes its whole limit', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 0)], dayMs)
        await ledger.end('r1', settled(100, 0), dayMs)
        expect(await look([holdOf(quota, 1)], dayMs)).toMatchObject({ retryAfterMs: 640 })
        expect(await look([holdOf(quota, 1)], dayMs + 640)).toBeUndefined()
      })
    })

    describe('a policy that changes', () => {
      const before = quotaOf()
      const raised = quotaOf({ limit: 200 })
      const lowered = quotaOf({ limit: 50 })

      test('keeps what was spent under another limit', async () => {
        await hold([holdOf(before, 80)], dayMs)
        expect((await hold([holdOf(raised, 120)], dayMs)).balances).toMatchObject([
          { reserved: 200, remaining: 0 },
        ])
        const short = expectShort(await reserve([holdOf(lowered, 1)], dayMs))
        expect(short.balances).toMatchObject([{ quota: lowered, reserved: 200, remaining: 0 }])
      })

      test('lets a debt fall by the limit of the latest', async () => {
        await hold([holdOf(before, 0)], dayMs)
        await ledger.end('r1', settled(150, 0), dayMs)
        // Half a length at 100 takes 50, another at 200 takes 100.
        await hold([holdOf(raised, 0)], dayMs + 32_000)
        expect(await balance(holdOf(raised, 0), dayMs + 32_000)).toMatchObject({ debt: 100 })
        expect(await balance(holdOf(raised, 0), dayMs + 48_000)).toMatchObject({ debt: 50 })
        expect(await balance(holdOf(raised, 0), dayMs + 64_000)).toMatchObject({ debt: 0 })
      })

      test('from a longer to a shorter window counts what counted as if it came now', async () => {
        const long = quotaOf({ window: { kind: 'sliding', lengthMs: 640_000 } })
        await hold([holdOf(long, 30)], dayMs)
        await hold([holdOf(long, 20)], dayMs + 100_000)
        const atMs = dayMs + 300_000
        expect(await balance(holdOf(before, 0), atMs)).toMatchObject({
          reserved: 50,
          resetMs: 65_000,
        })
        await hold([holdOf(before, 10)], atMs)
        await ledger.end('r1', settled(5, 0), atMs)
        expect(await balance(holdOf(before, 0), atMs)).toMatchObject({ spent: 5, reserved: 30 })
        expect(await balance(holdOf(before, 0), atMs + 64_999)).toMatchObject({ remaining: 65 })
        expect(await balance(holdOf(before, 0), atMs + 65_000)).toMatchObject({ remaining: 100 })
      })

      test('from a shorter to a longer window recalls nothing that had left, not even to give it back', async () => {
        const long = quotaOf({ window: { kind: 'sliding', lengthMs: 640_000 } })
        await hold([holdOf(before, 30)], dayMs)
        await hold([holdOf(before, 20)], dayMs + 60_000)
        await hold([holdOf(long, 10)], dayMs + 70_000)
        expect(await balance(holdOf(long, 0), dayMs + 70_000)).toMatchObject({ reserved: 30 })
        await ledger.end('r1', { kind: 'released' }, dayMs + 70_000)
        expect(await balance(holdOf(long, 0), dayMs + 70_000)).toMatchObject({ reserved: 30 })
        await ledger.end('r2', settled(5, 0), dayMs + 70_000)
        expect(await balance(holdOf(long, 0), dayMs + 70_000)).toMatchObject({
          spent: 5,
          reserved: 10,
        })
      })

      test('of the time zone keeps what was spent until the next boundary there', async () => {
        const utc = quotaOf({ window: calendar('day') })
        const tokyo = quotaOf({ window: calendar('day', 'Asia/Tokyo') })
        await hold([holdOf(utc, 100)], dayMs)
        const short = expectShort(await reserve([holdOf(tokyo, 1)], dayMs + 3_600_000))
        expect(short.retryAfterMs).toBe(14 * 3_600_000)
      })

      test('counts what was spent under another window as well as what is held', async () => {
        const other = quotaOf({ window: { kind: 'sliding', lengthMs: 128_000 } })
        await hold([holdOf(quotaOf(), 80)], dayMs)
        await ledger.end('r1', settled(80, 0), dayMs)
        const short = expectShort(await reserve([holdOf(other, 80)], dayMs))
        expect(short.balances).toMatchObject([{ spent: 80, reserved: 0, remaining: 20 }])
        await hold([holdOf(other, 20)], dayMs)
      })

      test('carries a debt over to another window', async () => {
        const day = quotaOf({ window: calendar('day') })
        const month = quotaOf({ window: calendar('month') })
        await hold([holdOf(day, 0)], dayMs)
        await ledger.end('r1', settled(70, 0), dayMs)
        expect(await balance(holdOf(month, 0), dayMs)).toMatchObject({ debt: 70, remaining: 30 })
        expectShort(await reserve([holdOf(month, 31)], dayMs))
        await hold([holdOf(month, 30)], dayMs)
      })
    })

    describe('a partition that is held', () => {
      const owing = settled(0, 80)
      const lateMs = dayMs + 1_000_000

      test('owes what a report says after all its windows passed', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 1)], dayMs)
        await ledger.end('r1', { kind: 'released' }, dayMs)
        await hold([holdOf(quota, 60)], dayMs)
        await ledger.expire(lateMs)
        await ledger.end('r2', owing, lateMs)
        expect(await balance(holdOf(quota, 0), lateMs)).toMatchObject({ debt: 20 })
      })

      test('does so also when its window changed meanwhile', async () => {
        const long = quotaOf({ window: { kind: 'sliding', lengthMs: 128_000 } })
        await hold([holdOf(quotaOf(), 60)], dayMs)
        expectShort(await reserve([holdOf(long, 60)], dayMs))
        await ledger.expire(lateMs)
        await ledger.end('r1', owing, lateMs)
        expect(await balance(holdOf(long, 0), lateMs)).toMatchObject({ debt: 20 })
      })
    })

    describe('a clock that jumps back', () => {
      test('admits nothing more', async () => {
        for (const window of [quotaOf().window, calendar('minute')]) {
          const quota = quotaOf({ name: window.kind, window })
          await hold([holdOf(quota, 100)], dayMs + 3_600_000)
          for (const backMs of [1, 60_000, 3_600_000]) {
            expectShort(await reserve([holdOf(quota, 1)], dayMs + 3_600_000 - backMs))
          }
        }
      })

      test('does not let a debt fall twice', async () => {
        const quota = quotaOf()
        await hold([holdOf(quota, 0)], dayMs)
        await ledger.end('r1', settled(100, 0), dayMs)
        for (let turns = 0; turns < 10; turns += 1) {
          await balance(holdOf(quota, 0), dayMs)
          await balance(holdOf(quota, 0), dayMs + 6400)
        }
        expect(await balance(holdOf(quota, 0), dayMs)).toMatchObject({ debt: 90 })
      })
    })

    test.each([NaN, -1, Infinity])('refuses the moment %d', async (atMs) => {
      await expect(reserve([holdOf(quotaOf(), 1)], atMs)).rejects.toThrow(
        `nowEpochMs ${String(atMs)} must be >= 0 and <= 100000000000000`,
      )
    })
  })
}

function expectHeld(answer: Held<string> | Short): Held<string> {
  if (answer.kind !== 'held') throw new Error(`${answer.quota.name} is short`)
  return answer
}

function expectShort(answer: Held<string> | Short): Short {
  if (answer.kind !== 'short') throw new Error('held, where a quota should be short')
  return answer
}
