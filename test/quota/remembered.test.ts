import { describe, expect, test } from 'vitest'
import { createFirstAnswers } from '../../src/quota/failover/first-answers.js'
import { createLocalParts } from '../../src/quota/failover/local-parts.js'
import type { Reservation } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { createRecent } from '../../src/quota/recent.js'
import { createOwnReservations } from '../../src/quota/redis/own-reservations.js'
import { bytesOf, createSharedBytes, KEY_BYTES, rememberedIn } from '../../src/quota/remembered.js'
import type { Remembered } from '../../src/quota/remembered.js'
import { createDecidedHere } from '../../src/quota/slices/decided-here.js'
import type { Pending } from '../../src/quota/slices/slice-turn.js'
import { holdOf, quotaOf } from './quotas.js'

// What a process remembers of a shared store: as much as its heap has room for, and the newest of it.

const startMs = 1_800_000_000_000
const leaseMs = 60_000

function reservationOf(id: number, holdCount = 1): Reservation<string> {
  const holds = Array.from({ length: holdCount }, (_, index) => holdOf(quotaOf(), 1, String(index)))
  return { id: String(id), context: 'context', holds, admittedAtEpochMs: startMs + id }
}

const each = bytesOf(reservationOf(0))
const keyOf = (id: number): string => `stream ${String(id)}`

/** Room for so many of one hold. */
function roomFor(count: number, keys = 100): Remembered {
  return { shared: createSharedBytes(count * each), eachBytes: keys * KEY_BYTES }
}

const ownIn = (remembered: Remembered) => createOwnReservations<string>(60_000, () => 0, remembered)
const firstsIn = (remembered: Remembered) => createFirstAnswers<string>(remembered)
type Own = ReturnType<typeof ownIn>
type Firsts = ReturnType<typeof firstsIn>

function addOwn(own: Own, id: number, holdCount = 1): void {
  own.add(reservationOf(id, holdCount), keyOf(id), leaseMs, 0)
}

function addFirst(firsts: Firsts, id: number): void {
  const reservation = reservationOf(id)
  const held = { kind: 'held', reservation, repeated: false, carrier: reservation.id } as const
  const request = { idempotencyKey: keyOf(id), leaseMs }
  firsts.add(request, { ...held, balances: [], shadowShort: [] }, startMs + id)
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, id) => id)
const ownedBy = (own: Own): number[] => numbers(20).filter((id) => own.get(String(id)))
const answeredBy = (firsts: Firsts): number[] => numbers(20).filter((id) => firsts.knows(keyOf(id)))

describe('what a heap has room for', () => {
  test('is an eighth of it for what shares, whatever the reservations hold', () => {
    const own = ownIn(rememberedIn(8 * 10 * bytesOf(reservationOf(0, 8))))
    for (const id of numbers(15)) addOwn(own, id, 8)
    expect(ownedBy(own)).toEqual(numbers(15).slice(5))
    expect(own.size()).toEqual({ partitions: 8, reservations: 10 })
    addOwn(own, 15, 80)
    expect(own.size().reservations).toBeLessThan(6)
    expect(own.get('15')).toBeDefined()
  })

  test('is shared: whichever memory has most forgets its oldest', () => {
    const remembered = roomFor(6)
    const [own, firsts] = [ownIn(remembered), firstsIn(remembered)]
    for (const id of numbers(6)) addOwn(own, id)
    addFirst(firsts, 0)
    expect([ownedBy(own), answeredBy(firsts)]).toEqual([[1, 2, 3, 4, 5], [0]])
    for (const id of numbers(6)) addFirst(firsts, id)
    expect([ownedBy(own), answeredBy(firsts)]).toEqual([
      [3, 4, 5],
      [3, 4, 5],
    ])
    own.remove('4', false)
    addFirst(firsts, 6)
    expect([ownedBy(own), answeredBy(firsts)]).toEqual([
      [3, 5],
      [3, 4, 5, 6],
    ])
    firsts.clear()
    for (const id of numbers(6)) addOwn(own, id)
    expect(ownedBy(own)).toEqual(numbers(6))
  })

  test('is not exceeded by the keys of what has ended', () => {
    const own = ownIn(roomFor(10, 8))
    for (const id of numbers(20)) {
      addOwn(own, id)
      own.remove(String(id), false)
    }
    const known = numbers(20).filter((id) => own.knows(keyOf(id)))
    expect(known.length).toBeLessThanOrEqual(8)
    expect(known.slice(-4)).toEqual([16, 17, 18, 19])
  })
})

describe('values that are remembered for a while', () => {
  test('weigh at most what they may, and half of that is kept', () => {
    const recent = createRecent<number>(60_000, { maxWeight: 10, weightOf: (value) => value })
    for (const key of ['a', 'b', 'c', 'd']) recent.add(key, 2)
    expect([recent.count(), recent.get('a')]).toEqual([4, 2])
    recent.add('b', 3)
    recent.remove('c')
    recent.add('e', 2)
    expect([...'abcde'].map((key) => recent.get(key))).toEqual([undefined, 3, undefined, 2, 2])
    recent.add('too heavy', 6)
    expect([recent.get('too heavy'), recent.count()]).toEqual([undefined, 3])
  })

  test('are kept by a rotation that comes just after they were too many', () => {
    const recent = createRecent<number>(60, { maxWeight: 10, weightOf: () => 1 })
    recent.rotate(0)
    for (let key = 0; key < 6; key += 1) recent.add(String(key), key)
    recent.rotate(60)
    expect(recent.count()).toBe(6)
    recent.rotate(120)
    expect([recent.count(), recent.get('5')]).toEqual([1, 5])
    recent.rotate(180)
    expect(recent.count()).toBe(0)
  })
})

describe('an answer that was forgotten', () => {
  test('is given up as it is told, where it alone carried its stream', () => {
    const firsts = firstsIn(roomFor(1))
    for (const id of [0, 1]) addFirst(firsts, id)
    expect(firsts.giveUp('0', '0')).toBe('0')
  })

  test('is not given up where it was repeated here: the store knows nothing of the other that has it', () => {
    const firsts = firstsIn(roomFor(1))
    addFirst(firsts, 0)
    expect(firsts.repeat({ idempotencyKey: keyOf(0), id: 'again' })?.carrier).toBe('again')
    addFirst(firsts, 1)
    expect(firsts.knows(keyOf(0))).toBe(false)
    expect([firsts.giveUp('0', '0'), firsts.giveUp('0', 'again')]).toEqual([undefined, undefined])
    firsts.remove('0')
    expect(firsts.giveUp('0', '0')).toBe('0')
  })
})

describe('what is decided from slices', () => {
  function pendingOf(id: number, holdCount = 1): Pending<string> {
    const { holds, ...rest } = reservationOf(id, holdCount)
    const request = {
      id: String(id),
      idempotencyKey: keyOf(id),
      holds,
      context: 'context',
      leaseMs,
    }
    const parts = [{ bucket: 7, indices: [0], admittedMs: startMs }] as const
    const more = { carriers: [], sent: false, givenUp: new Set<string>() }
    return { request, reservation: { ...rest, holds }, slices: [], parts, ...more }
  }

  test('is known until the store has it, however much there is, and then as there is room', () => {
    let tick = 0
    const decided = createDecidedHere<string>(
      60_000,
      () => tick,
      () => undefined,
      roomFor(2),
    )
    const pendings = numbers(5).map((id) => pendingOf(id))
    for (const pending of pendings) decided.add(pending)
    tick = 30
    for (const id of numbers(5)) {
      const { reservation } = pendings[id] as Pending<string>
      expect(decided.pendingById(String(id))).toBe(pendings[id])
      expect(decided.get(String(id))).toEqual({ reservation, home: 7 })
      expect(decided.find(String(id))).toEqual({ ...reservation, heldMs: 30 })
      expect(decided.asMadeHere({ ...reservation })).toBe(reservation)
      expect(decided.knows(keyOf(id))).toBe(true)
    }
    decided.forgetDue(startMs + 10 * leaseMs)
    expect(decided.get('0')).toBeDefined()
    for (const pending of pendings) decided.adopted(pending, 'adopted', [])
    expect(numbers(5).filter((id) => decided.find(String(id)))).toEqual([])
  })

  test('is forgotten where it is the oldest, when the store has it', () => {
    const decided = createDecidedHere<string>(
      60_000,
      () => 0,
      () => undefined,
      roomFor(2),
    )
    for (const id of numbers(3)) {
      const pending = pendingOf(id)
      decided.add(pending)
      decided.adopted(pending, 'adopted', [])
    }
    expect(numbers(3).filter((id) => decided.find(String(id)))).toEqual([1, 2])
  })

  test('waits for the store by what it holds', () => {
    const decided = createDecidedHere<string>(
      60_000,
      () => 0,
      () => undefined,
      roomFor(2),
    )
    const pendings = [pendingOf(0, 8), pendingOf(1, 9), pendingOf(2, 800), pendingOf(3, 0)]
    for (const pending of pendings) decided.add(pending)
    expect(decided.pendings(new Set([7]))).toEqual({ all: 104, most: 104 })
    for (const pending of pendings) decided.withdrawn(pending)
    expect(decided.pendings(new Set([7]))).toEqual({ all: 0, most: 0 })
  })
})

describe('what is held here beside the store', () => {
  async function joinMany(remembered: Remembered, count: number) {
    const here = createMemoryLedger<string>()
    const parts = createLocalParts(here, remembered)
    const [there, beside] = [
      holdOf(quotaOf(), 1, 'there'),
      holdOf(quotaOf({ limit: 1e9 }), 1, 'here'),
    ]
    for (let id = 0; id < count; id += 1) {
      const { context, admittedAtEpochMs } = reservationOf(id)
      const ids = { id: String(id), idempotencyKey: keyOf(id) }
      const request = { ...ids, holds: [there, beside], context, leaseMs }
      const part = await parts.reserve(request, [beside], startMs)
      if (!('answer' in part) || part.answer.kind !== 'held') throw new Error('not held')
      const reservation = { id: String(id), context, holds: [there], admittedAtEpochMs }
      const inStore = { reservation, repeated: false, carrier: String(id), balances: [] }
      parts.join(request, { kind: 'held', ...inStore, shadowShort: [] }, part.answer, startMs + id)
    }
    return { here, parts }
  }

  test('is joined as far as there is room; the oldest parts are left to their leases', async () => {
    const { here, parts } = await joinMany(
      { ...roomFor(1), shared: createSharedBytes(3 * bytesOf(reservationOf(0, 2))) },
      5,
    )
    expect(numbers(5).filter((id) => parts.holdsOf(String(id)))).toEqual([2, 3, 4])
    expect([parts.count(), here.size().reservations]).toEqual([3, 5])
    const unsettled = await here.expire(startMs + leaseMs)
    expect(unsettled.filter((ended) => !parts.isPart(ended))).toEqual([])
  })

  test('is forgotten in pieces', async () => {
    const { parts } = await joinMany(rememberedIn(), 700)
    const left = [1, 2].map(() => {
      parts.forgetDue(startMs + 10 * leaseMs)
      return parts.count()
    })
    expect(left).toEqual([33, 0])
  })
})

describe('what is due', () => {
  const longMs = startMs + 10 * leaseMs

  /** How many are left after each call. */
  function leftAfter(calls: number, forget: () => void, left: () => number): number[] {
    return Array.from({ length: calls }, () => {
      forget()
      return left()
    })
  }

  test('is forgotten in pieces, by what they hold', () => {
    const own = ownIn(rememberedIn())
    for (let id = 0; id < 1200; id += 1) addOwn(own, id, 3)
    const forget = (): void => {
      own.forgetDue(longMs)
    }
    expect(leftAfter(3, forget, () => own.size().reservations)).toEqual([700, 200, 0])
  })

  test('is forgotten of first answers in pieces, too', () => {
    const firsts = firstsIn(rememberedIn())
    for (let id = 0; id < 4200; id += 1) addFirst(firsts, id)
    const forget = (): void => {
      firsts.forgetDue(longMs)
    }
    const left = (): number =>
      Array.from({ length: 4200 }, (_, id) => firsts.knows(keyOf(id))).filter(Boolean).length
    expect(leftAfter(3, forget, left)).toEqual([2200, 200, 0])
  })
})
