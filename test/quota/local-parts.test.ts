import { beforeEach, describe, expect, test } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import { createLocalParts } from '../../src/quota/failover/local-parts.js'
import type { End, Hold, ReserveRequest } from '../../src/quota/ledger.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import type { OnStoreFailure } from '../../src/quota/quota.js'
import { rememberedIn } from '../../src/quota/remembered.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { createStoreInParts } from './store-in-parts.js'
import type { ProcessInParts, StoreInParts } from './store-in-parts.js'

// A part of the store is away, and a quota there says `local`.

const startMs = Date.parse('2026-02-02T00:00:00Z')
const leaseMs = 60_000

function holdAt(name: string, onStoreFailure: OnStoreFailure, amount = 10, changes = {}): Hold {
  const window = calendar('day')
  return holdOf(quotaOf({ name, limit: 100, window, onStoreFailure, ...changes }), amount)
}
const [first, gone, last] = [
  holdAt('first', 'deny'),
  holdAt('gone', 'local'),
  holdAt('last', 'allow'),
]

let store: StoreInParts
let one: ProcessInParts
let other: ProcessInParts
let nowMs: number

beforeEach(async () => {
  nowMs = startMs
  store = createStoreInParts()
  ;[one, other] = [store.join(), store.join()]
  for (const { ledger } of [one, other, one, other]) await ledger.expire(nowMs)
  store.away.add(gone.partitionKey)
})

function requestOf(changes: Partial<ReserveRequest<string>> = {}): ReserveRequest<string> {
  const holds = [first, gone, last]
  return { id: 'a', idempotencyKey: 'stream', holds, context: 'context', leaseMs, ...changes }
}

async function hold(changes = {}, process = one) {
  const answer = await process.ledger.reserve(requestOf(changes), nowMs)
  if (answer.kind !== 'held') throw new Error(`${answer.kind} by ${answer.quota.name}`)
  return answer
}

const settled = (tokens: number): End => {
  return { kind: 'settled', inputTokens: tokens, outputTokens: 0 }
}

/** Spent and reserved: of the first and last in the store, and of the one between in the share. */
async function figures(process = one): Promise<number[][]> {
  const balances = [
    ...(await store.ledger.balances([first, last], nowMs)),
    ...(await process.local.balances([gone], nowMs)),
  ]
  return [0, 2, 1].map((at) => [balances[at]?.spent ?? -1, balances[at]?.reserved ?? -1])
}
const asHeld = [
  [0, 10],
  [0, 10],
  [0, 10],
]
const nothing = [
  [0, 0],
  [0, 0],
  [0, 0],
]

describe('a request of which a part of the store is away', () => {
  test('is held there by this process’s share, and by the store otherwise', async () => {
    const held = await hold()
    expect(held.fallback).toEqual({
      why: 'store',
      fault: 'a part is away',
      localQuotas: ['gone'],
      uncountedQuotas: [],
    })
    expect(held.reservation.holds.map(({ quota }) => [quota.name, quota.limit])).toEqual([
      ['first', 100],
      ['gone', 50],
      ['last', 100],
    ])
    expect(held.balances.map(({ remaining }) => remaining)).toEqual([90, 40, 90])
    expect(await figures()).toEqual(asHeld)
    expect(one.ledger.size()).toMatchObject({ reservations: 1, partitions: 3 })
  })

  test('is found as one, and its report ends both parts and is told once, in the order of the request', async () => {
    const { id, holds } = (await hold()).reservation
    expect(await one.ledger.find(id, nowMs)).toMatchObject({ id, context: 'context', holds })
    expect(await one.ledger.end(id, settled(12), nowMs)).toEqual({
      reservation: { id, context: 'context', holds, admittedAtEpochMs: nowMs },
      outcome: 'settled',
      late: false,
      charges: [
        { actual: 12, debt: 2 },
        { actual: 12, debt: 2 },
        { actual: 12, debt: 2 },
      ],
    })
    expect(await figures()).toEqual([
      [10, 0],
      [10, 0],
      [10, 0],
    ])
    expect(await one.ledger.end(id, settled(12), nowMs)).toBeUndefined()
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
  })

  test('has each part charged in its own unit', async () => {
    const parallel = holdAt('parallel', 'local', 1, { unit: 'in_flight', window: { kind: 'open' } })
    store.away.add(parallel.partitionKey)
    const { id } = (await hold({ holds: [parallel, first, gone] })).reservation
    expect(await one.ledger.end(id, settled(4), nowMs)).toMatchObject({
      charges: [{ actual: 1 }, { actual: 4 }, { actual: 4 }],
    })
  })

  test('is held by the same when it is asked for again, here, also when all of the store is back', async () => {
    const { id } = (await hold()).reservation
    store.away.clear()
    store.asked.splice(0)
    const again = await hold({ id: 'b' })
    expect(again).toMatchObject({ repeated: true, reservation: { id } })
    expect(again.fallback).toMatchObject({ localQuotas: ['gone'] })
    expect(store.asked).toEqual([])
    expect(await figures()).toEqual(asHeld)
  })

  test('names the shadow quotas that would have refused, of both parts', async () => {
    const [there, here, none] = [
      holdAt('there', 'deny', 101, { shadow: true }),
      holdAt('here', 'local', 51, { shadow: true }),
      holdAt('none', 'local', 1, { shadow: true, limit: 1 }),
    ]
    for (const { partitionKey } of [here, none]) store.away.add(partitionKey)
    const held = await hold({ holds: [there, here, none] })
    expect(held.shadowShort.map(({ name }) => name).sort()).toEqual(['here', 'none', 'there'])
    expect(held.fallback).toMatchObject({ localQuotas: ['here'], uncountedQuotas: ['none'] })
  })

  test('that does not fit the share is refused, and the store is asked no more', async () => {
    await hold({ holds: [first, { ...gone, amount: 41 }] })
    store.asked.splice(0)
    expect(await one.ledger.reserve(requestOf({ id: 'b', idempotencyKey: 'b' }), nowMs)).toEqual({
      kind: 'unavailable',
      quota: expect.objectContaining({ name: 'gone' }) as unknown,
      why: 'share',
      fault: 'a part is away',
    })
    expect(store.asked).toEqual(['b'])
    expect(await figures()).toEqual([
      [0, 10],
      [0, 41],
      [0, 0],
    ])
  })

  test('that does not fit what answers is short, and the share has it back', async () => {
    await hold()
    store.beforeAnswer = async () => {
      // Between its two calls another takes what is left.
      store.beforeAnswer = async () => {
        const taken = requestOf({ idempotencyKey: 'b', holds: [{ ...first, amount: 85 }] })
        await store.ledger.reserve({ ...taken, id: 'b' }, nowMs)
      }
    }
    const short = await one.ledger.reserve(requestOf({ id: 'c', idempotencyKey: 'c' }), nowMs)
    expect(short).toMatchObject({ kind: 'short', quota: { name: 'first' } })
    expect((await figures())[1]).toEqual([0, 10])
  })

  test('asks all its quotas where the store fails again, and holds nothing twice', async () => {
    const holds = [{ ...first, quota: { ...first.quota, onStoreFailure: 'local' as const } }, gone]
    store.beforeAnswer = async () => {
      store.beforeAnswer = async () => void store.away.add(first.partitionKey)
    }
    expect((await hold({ holds })).fallback).toMatchObject({ localQuotas: ['first', 'gone'] })
    expect(store.asked).toEqual(['a', 'a-2'])
    const local = await one.local.balances([first, gone], nowMs)
    expect(local.map(({ reserved }) => reserved)).toEqual([10, 10])
  })

  test('is refused where its quota that is away denies, and nothing is held', async () => {
    store.away.add(first.partitionKey)
    const answer = await one.ledger.reserve(requestOf(), nowMs)
    expect(answer).toMatchObject({ kind: 'unavailable', why: 'store', quota: { name: 'first' } })
    expect(await figures()).toEqual(nothing)
  })

  test('leaves out what allows and holds what says local, where both are away', async () => {
    store.away.add(last.partitionKey)
    expect((await hold()).fallback).toMatchObject({
      localQuotas: ['gone'],
      uncountedQuotas: ['last'],
    })
    expect(await figures()).toEqual([
      [0, 10],
      [0, 10],
      [0, 0],
    ])
  })
})

describe('its report', () => {
  test('that fails ends neither part, and is told once when it is tried again', async () => {
    const { id } = (await hold()).reservation
    store.away.add(first.partitionKey)
    await expect(one.ledger.end(id, settled(4), nowMs)).rejects.toThrow(DependencyError)
    expect(await figures()).toEqual(asHeld)
    store.away.clear()
    expect((await one.ledger.end(id, settled(4), nowMs))?.charges).toHaveLength(3)
    expect(await figures()).toEqual([
      [4, 0],
      [4, 0],
      [4, 0],
    ])
  })

  test('that reaches another process ends what the store holds, and leaves the rest to its lease, untold', async () => {
    const { id } = (await hold()).reservation
    expect(await other.ledger.find(id, nowMs)).toMatchObject({ context: 'context' })
    expect((await other.ledger.end(id, settled(4), nowMs))?.charges).toHaveLength(2)
    expect(await figures()).toEqual([
      [4, 0],
      [0, 10],
      [4, 0],
    ])
    nowMs += leaseMs
    expect(await one.ledger.expire(nowMs)).toEqual([])
    expect(await figures()).toEqual([
      [4, 0],
      [10, 0],
      [4, 0],
    ])
    nowMs += leaseMs
    expect(await one.ledger.expire(nowMs)).toEqual([])
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
  })

  test('that comes after the lease settles both parts, which were told once before', async () => {
    const { id, holds } = (await hold()).reservation
    nowMs += leaseMs
    expect(await one.ledger.expire(nowMs)).toMatchObject([
      {
        outcome: 'unsettled',
        reservation: { id, holds },
        charges: [{ actual: 10 }, { actual: 10 }, { actual: 10 }],
      },
    ])
    expect(await one.ledger.expire(nowMs)).toEqual([])
    expect(await one.ledger.end(id, settled(4), nowMs)).toMatchObject({
      late: true,
      charges: [{ actual: 4 }, { actual: 4 }, { actual: 4 }],
    })
    expect(await figures()).toEqual([
      [4, 0],
      [4, 0],
      [4, 0],
    ])
  })
})

describe('an answer that reached nobody', () => {
  test('gives both parts back, told once', async () => {
    const { reservation, carrier } = await hold()
    expect(await one.ledger.abandon(reservation.id, nowMs, carrier)).toMatchObject({
      outcome: 'released',
      reservation: { holds: reservation.holds },
      charges: [{ actual: 0 }, { actual: 0 }, { actual: 0 }],
    })
    expect(await figures()).toEqual(nothing)
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
  })

  test('gives the share back though the store fails, which is told when it is given back there', async () => {
    const { reservation, carrier } = await hold()
    store.away.add(first.partitionKey)
    await expect(one.ledger.abandon(reservation.id, nowMs, carrier)).rejects.toThrow('is away')
    expect((await figures())[1]).toEqual([0, 0])
    expect(one.ledger.size()).toMatchObject({ reservations: 1 })
    store.away.clear()
    expect(await one.ledger.expire(nowMs)).toMatchObject([
      { outcome: 'released', reservation: { holds: reservation.holds } },
    ])
    expect(await figures()).toEqual(nothing)
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
  })

  test('of a stream that was asked for again here leaves it whole until none is left', async () => {
    const { reservation, carrier } = await hold()
    const again = await hold({ id: 'b', context: 'again' })
    expect(again).toMatchObject({ repeated: true, reservation: { context: 'context' } })
    expect(again.fallback).toMatchObject({ localQuotas: ['gone'] })
    expect(await one.ledger.abandon(reservation.id, nowMs, carrier)).toBeUndefined()
    expect(await figures()).toEqual(asHeld)
    const told = await one.ledger.abandon(reservation.id, nowMs, again.carrier)
    expect(told).toMatchObject({ outcome: 'released' })
    expect(await figures()).toEqual(nothing)
  })

  test.each([
    ['first', 0, 1],
    ['second', 1, 0],
  ])('of two calls that came at once, the %s, leaves the other whole', async (_, early, late) => {
    let second: ReturnType<typeof hold> | undefined
    store.beforeAnswer = async () => {
      store.beforeAnswer = async () => {
        second = hold({ id: 'b' })
        await second
      }
    }
    const answers = [await hold(), await second]
    expect(new Set(answers.map((answer) => answer?.reservation.id)).size).toBe(1)
    expect(await figures()).toEqual(asHeld)
    expect(one.ledger.size()).toMatchObject({ reservations: 1 })
    const giveUp = async (which: number) => {
      const { reservation, carrier } = answers[which] as Awaited<ReturnType<typeof hold>>
      return one.ledger.abandon(reservation.id, nowMs, carrier)
    }
    expect(await giveUp(early)).toBeUndefined()
    expect(await figures()).toEqual(asHeld)
    expect(await giveUp(late)).toMatchObject({ outcome: 'released' })
    expect(await figures()).toEqual(nothing)
  })

  test('leaves what another process holds of the same stream in its own share', async () => {
    const { reservation, carrier } = await hold()
    const there = await hold({ id: 'b' }, other)
    expect(there).toMatchObject({ repeated: true, reservation: { id: reservation.id } })
    expect(there.fallback).toMatchObject({ localQuotas: ['gone'] })
    expect(await one.ledger.abandon(reservation.id, nowMs, carrier)).toBeUndefined()
    expect((await figures())[1]).toEqual([0, 0])
    expect(await figures(other)).toEqual(asHeld)
    expect((await other.ledger.end(reservation.id, settled(4), nowMs))?.charges).toHaveLength(3)
    expect((await figures(other))[1]).toEqual([4, 0])
  })

  test('is held anew where it is asked for again before the store has given it back', async () => {
    const { reservation, carrier } = await hold()
    store.away.add(first.partitionKey)
    await expect(one.ledger.abandon(reservation.id, nowMs, carrier)).rejects.toThrow('is away')
    store.away.delete(first.partitionKey)
    nowMs += leaseMs / 2
    const again = await hold({ id: 'b' })
    expect(await figures()).toEqual(asHeld)
    await one.ledger.expire(nowMs)
    expect(await figures()).toEqual(asHeld)
    // Longer than the first would have been remembered.
    nowMs = startMs + 2 * leaseMs
    await one.ledger.expire(nowMs)
    expect((await one.ledger.end(again.reservation.id, settled(4), nowMs))?.charges).toHaveLength(3)
    expect((await figures()).map(([, reserved]) => reserved)).toEqual([0, 0, 0])
  })
})

test('a call that comes beside one for which another part was away is decided by neither', async () => {
  const also = holdAt('also', 'local')
  const holds = [first, gone, also]
  let second: Promise<unknown> | undefined
  store.beforeAnswer = async () => {
    store.beforeAnswer = async () => {
      store.away.add(also.partitionKey)
      second = hold({ id: 'b', holds })
      await expect(second).rejects.toThrow('holds something else')
      store.away.delete(also.partitionKey)
    }
  }
  const { reservation, carrier } = await hold({ holds })
  await expect(second).rejects.toThrow('holds something else')
  expect(await one.local.balances([gone, also], nowMs)).toMatchObject([
    { reserved: 10 },
    { reserved: 0 },
  ])
  // The second carries nothing.
  await one.ledger.abandon(reservation.id, nowMs, carrier)
  expect(await one.local.balances([gone], nowMs)).toMatchObject([{ spent: 0, reserved: 0 }])
})

test('a call that comes beside one for which more of the store was away holds nothing twice', async () => {
  const also = holdAt('also', 'local')
  const holds = [first, gone, also]
  store.away.add(also.partitionKey)
  let second: Promise<unknown> | undefined
  store.beforeAnswer = async () => {
    store.beforeAnswer = async () => {
      store.away.delete(also.partitionKey)
      second = hold({ id: 'b', holds })
      await expect(second).rejects.toThrow('holds something else')
    }
  }
  const { reservation } = await hold({ holds })
  await expect(second).rejects.toThrow('holds something else')
  expect(reservation.holds.map(({ quota }) => quota.name)).toEqual(['first', 'gone', 'also'])
  expect(await store.ledger.balances([also], nowMs)).toMatchObject([{ reserved: 0 }])
  expect(await one.local.balances([also], nowMs)).toMatchObject([{ reserved: 10 }])
})

describe('a part that a call which was given up has left to another one', () => {
  /** The second call comes and is given up while the first one asks for the rest. */
  async function holdBesideOneGivenUp() {
    let givenUp = ''
    store.beforeAnswer = async () => {
      store.beforeAnswer = async () => {
        const { reservation, carrier } = await hold({ id: 'b' })
        givenUp = reservation.id
        await one.ledger.abandon(reservation.id, nowMs, carrier)
      }
    }
    const held = await hold()
    expect(held.reservation.id).not.toBe(givenUp)
    return { ...held, givenUp }
  }

  test('counts once, and no more when its report has come', async () => {
    const { reservation, givenUp } = await holdBesideOneGivenUp()
    expect(await figures()).toEqual(asHeld)
    expect(one.ledger.size()).toMatchObject({ reservations: 1 })
    await one.ledger.end(reservation.id, settled(4), nowMs)
    expect(await figures()).toEqual([
      [4, 0],
      [4, 0],
      [4, 0],
    ])
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
    expect(await one.ledger.find(givenUp, nowMs)).toBeUndefined()
    expect(await one.ledger.end(givenUp, settled(4), nowMs)).toBeUndefined()
  })

  test('counts no more when that one is given up too', async () => {
    const { reservation, carrier } = await holdBesideOneGivenUp()
    await one.ledger.abandon(reservation.id, nowMs, carrier)
    expect(await figures()).toEqual(nothing)
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
  })

  test('counts no more when that one finds no room in the store', async () => {
    const filling = {
      ...requestOf(),
      id: 'c',
      idempotencyKey: 'other',
      holds: [{ ...first, amount: 100 }],
    }
    store.beforeAnswer = async () => {
      store.beforeAnswer = async () => {
        const { reservation, carrier } = await hold({ id: 'b' })
        await one.ledger.abandon(reservation.id, nowMs, carrier)
        await store.ledger.reserve(filling, nowMs)
      }
    }
    await expect(hold()).rejects.toThrow('short by first')
    expect(one.ledger.size()).toMatchObject({ reservations: 1 })
    expect(await one.local.balances([gone], nowMs)).toMatchObject([{ spent: 0, reserved: 0 }])
  })

  /** Both hold in the store, each for itself. */
  async function joinTwice() {
    const [there, here] = [createMemoryLedger<string>(), createMemoryLedger<string>()]
    const parts = createLocalParts(here, rememberedIn())
    for (const id of ['x', 'y']) {
      const request = requestOf({ id, holds: [first, gone] })
      const inStore = await there.reserve({ ...request, idempotencyKey: id, holds: [first] }, nowMs)
      const part = await parts.reserve(request, [gone], nowMs)
      if (inStore.kind !== 'held' || !('answer' in part) || part.answer.kind !== 'held') {
        throw new Error('not held')
      }
      parts.join(request, inStore, part.answer, nowMs)
    }
    expect(parts.count()).toBe(1)
    return { there, here, parts }
  }

  test.each([
    ['x', 'y'],
    ['y', 'x'],
  ])('ends with the first report of either, and is told once: %s', async (early, late) => {
    const { there, here, parts } = await joinTwice()
    const ended = await there.end(early, settled(4), nowMs)
    expect(await parts.end(early, settled(4), ended, nowMs)).toMatchObject({
      charges: [{ actual: 4 }, { actual: 4 }],
    })
    expect([parts.count(), here.size().reservations]).toEqual([0, 0])
    expect(parts.holdsOf(late)).toBeUndefined()
    const other = await there.end(late, settled(5), nowMs)
    expect(await parts.end(late, settled(5), other, nowMs)).toBe(other)
    expect(other?.charges).toMatchObject([{ actual: 5 }])
  })

  test('counts until both are given up, which are known until they are forgotten', async () => {
    const { parts } = await joinTwice()
    await parts.abandon('x', 'x', nowMs)
    expect(parts.count()).toBe(1)
    await parts.abandon('y', 'y', nowMs)
    expect(parts.count()).toBe(0)
    expect(['x', 'y'].map((id) => parts.holdsOf(id)?.length)).toEqual([2, 2])
    parts.forgetDue(nowMs + 2 * leaseMs)
    expect(['x', 'y'].map((id) => parts.holdsOf(id))).toEqual([undefined, undefined])
  })

  test('is counted no more when all is cleared', async () => {
    const { parts } = await joinTwice()
    parts.clear()
    expect(parts.count()).toBe(0)
  })

  test('counts until its lease is forgotten', async () => {
    await holdBesideOneGivenUp()
    for (let times = 0; times < 2; times += 1) {
      nowMs += leaseMs
      await one.ledger.expire(nowMs)
    }
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
  })
})

test('one whose report never comes is forgotten', async () => {
  const { id } = (await hold()).reservation
  for (let times = 0; times < 2; times += 1) {
    nowMs += leaseMs
    await one.ledger.expire(nowMs)
  }
  expect(one.ledger.size()).toMatchObject({ reservations: 0 })
  expect(await one.ledger.find(id, nowMs)).toBeUndefined()
  expect(await one.ledger.end(id, settled(4), nowMs)).toBeUndefined()
})

describe('where the clock on the wall is set', () => {
  const hourMs = 3_600_000
  let tickMs: number
  beforeEach(async () => {
    tickMs = 5
    store = createStoreInParts(() => tickMs)
    one = store.join()
    for (let times = 0; times < 2; times += 1) await one.ledger.expire(nowMs)
    store.away.add(gone.partitionKey)
  })

  test('forward, what is held is still one, and the answer to a repeat', async () => {
    const { id } = (await hold()).reservation
    const asked = [...store.asked]
    nowMs += hourMs
    expect(await one.ledger.expire(nowMs)).toEqual([])
    expect(await hold({ id: 'again' })).toMatchObject({ repeated: true, reservation: { id } })
    // Which no store knows.
    expect(store.asked).toEqual(asked)
    const ended = await one.ledger.end(id, settled(12), nowMs)
    expect(ended?.charges.map(({ actual }) => actual)).toEqual([12, 12, 12])
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
    expect(one.local.size().reservations).toBe(0)
  })

  test('back, what nobody reports is forgotten after two leases, on both sides alike', async () => {
    await hold()
    nowMs -= hourMs
    for (let times = 0; times < 2; times += 1) {
      tickMs += leaseMs
      nowMs += leaseMs
      await one.ledger.expire(nowMs)
    }
    expect(one.ledger.size()).toMatchObject({ reservations: 0 })
    expect(one.local.size().reservations).toBe(0)
  })
})
