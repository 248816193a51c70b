import { describe, expect, test } from 'vitest'
import { FullError } from '../../src/quota/full-error.js'
import { boundsIn } from '../../src/quota/memory/bounds.js'
import { createMemoryLedger } from '../../src/quota/memory/memory-ledger.js'
import { bytesOf } from '../../src/quota/remembered.js'
import { describeLedger } from './ledger.contract.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

describeLedger('the memory ledger', () => createMemoryLedger())

const startMs = Date.parse('2026-02-02T00:00:00Z')
const nothing = { partitions: 0, reservations: 0, idempotencyKeys: 0 }
const quotas = [
  quotaOf(),
  quotaOf({ name: 'day', window: calendar('day') }),
  quotaOf({ name: 'parallel', unit: 'in_flight', window: { kind: 'open' } }),
]

function requestOf(id: string, leaseMs = 10_000) {
  const holds = quotas.map((quota) => holdOf(quota, 1, id))
  return { id, idempotencyKey: id, holds, context: '', leaseMs }
}

test('knows the key of an ended reservation for as long as it was told, over any number of expires', async () => {
  const ledger = createMemoryLedger<string>({ rememberEndedMs: 1000 })
  await ledger.expire(startMs)
  await ledger.reserve(requestOf('a'), startMs + 1)
  await ledger.end('a', { kind: 'estimated', inputTokens: 1, outputTokens: 0 }, startMs + 999)
  for (let atMs = startMs + 999; atMs < startMs + 1999; atMs += 50) await ledger.expire(atMs)
  expect(
    await ledger.reserve({ ...requestOf('b'), idempotencyKey: 'a' }, startMs + 1999),
  ).toMatchObject({ repeated: true, reservation: { id: 'a' } })
  for (const atMs of [2000, 3000]) await ledger.expire(startMs + atMs)
  expect(
    await ledger.reserve({ ...requestOf('b'), idempotencyKey: 'a' }, startMs + 3000),
  ).toMatchObject({ repeated: false, reservation: { id: 'b' } })
})

test('knows the key of an ended reservation for a minute, unless told otherwise', async () => {
  const ledger = createMemoryLedger<string>()
  await ledger.expire(startMs)
  await ledger.reserve(requestOf('a'), startMs)
  await ledger.end('a', { kind: 'estimated', inputTokens: 1, outputTokens: 0 }, startMs)
  for (let atMs = startMs; atMs <= startMs + 60_000; atMs += 1000) await ledger.expire(atMs)
  const again = { ...requestOf('b'), idempotencyKey: 'a' }
  expect(await ledger.reserve(again, startMs + 60_000)).toMatchObject({ repeated: true })
})

describe('the size of the memory ledger', () => {
  test('grows by what a reservation needs', async () => {
    const ledger = createMemoryLedger<string>()
    await ledger.reserve(requestOf('a'), startMs)
    expect(ledger.size()).toEqual({ partitions: 3, reservations: 1, idempotencyKeys: 1 })
  })

  test('is nothing after a refusal', async () => {
    const ledger = createMemoryLedger<string>()
    const holds = [holdOf(quotaOf(), 101)]
    await ledger.reserve({ ...requestOf('a'), holds }, startMs)
    expect(ledger.size()).toEqual(nothing)
  })

  test('is nothing once all that was spent and owed has passed', async () => {
    const ledger = createMemoryLedger<string>({ rememberEndedMs: 1000 })
    for (const id of ['settled', 'owing', 'released', 'unsettled']) {
      await ledger.reserve(requestOf(id), startMs)
    }
    await ledger.end('settled', { kind: 'settled', inputTokens: 1, outputTokens: 0 }, startMs)
    await ledger.end('owing', { kind: 'settled', inputTokens: 301, outputTokens: 0 }, startMs)
    await ledger.end('released', { kind: 'released' }, startMs)
    expect(ledger.size()).toEqual({ partitions: 12, reservations: 1, idempotencyKeys: 3 })

    // Three are ended: what was in flight is free, what was released is as if it had never been.
    await ledger.expire(startMs + 1000)
    expect(ledger.size()).toEqual({ partitions: 7, reservations: 1, idempotencyKeys: 3 })
    await ledger.expire(startMs + 2000)
    expect(ledger.size()).toEqual({ partitions: 7, reservations: 1, idempotencyKeys: 1 })
    await ledger.expire(startMs + 10_000)
    await ledger.expire(startMs + 20_000)
    // The last is forgotten, and with it what it had in flight.
    await ledger.expire(startMs + 20_001)
    expect(ledger.size()).toEqual({ partitions: 6, reservations: 0, idempotencyKeys: 0 })
    // Minutes pass but for that which owes three of them.
    await ledger.expire(startMs + 65_000)
    expect(ledger.size()).toEqual({ ...nothing, partitions: 4 })
    await ledger.expire(startMs + 192_000)
    expect(ledger.size()).toEqual({ ...nothing, partitions: 3 })
    await ledger.expire(startMs + 86_400_000)
    expect(ledger.size()).toEqual({ ...nothing, partitions: 1 })
    await ledger.expire(startMs + 3 * 86_400_000 - 1)
    expect(ledger.size()).toEqual({ ...nothing, partitions: 1 })
    await ledger.expire(startMs + 3 * 86_400_000)
    expect(ledger.size()).toEqual(nothing)
  })

  test('keeps a partition while a report could still make it owe', async () => {
    const ledger = createMemoryLedger<string>({ rememberEndedMs: 0 })
    await ledger.reserve(requestOf('a', 10 ** 9), startMs)
    const lateMs = startMs + 10 ** 9 - 1
    await ledger.expire(lateMs)
    expect(ledger.size()).toMatchObject({ partitions: 3, reservations: 1 })
    await ledger.end('a', { kind: 'settled', inputTokens: 50, outputTokens: 0 }, lateMs)
    await ledger.expire(lateMs)
    await ledger.expire(lateMs)
    expect(ledger.size()).toEqual({ ...nothing, partitions: 2 })
    expect(await ledger.balances([holdOf(quotaOf(), 0, 'a')], lateMs)).toMatchObject([{ debt: 49 }])
  })

  test('is nothing when a partition was moved to another window and then left alone', async () => {
    const ledger = createMemoryLedger<string>({ rememberEndedMs: 0 })
    const long = quotaOf({ window: { kind: 'sliding', lengthMs: 640_000 } })
    await ledger.reserve({ ...requestOf('a'), holds: [holdOf(quotaOf(), 60)] }, startMs)
    await ledger.end('a', { kind: 'estimated', inputTokens: 60, outputTokens: 0 }, startMs)
    await ledger.reserve({ ...requestOf('b'), holds: [holdOf(long, 60)] }, startMs)
    await ledger.expire(startMs + 649_998)
    await ledger.expire(startMs + 649_999)
    expect(ledger.size()).toEqual({ ...nothing, partitions: 1 })
    await ledger.expire(startMs + 650_000)
    expect(ledger.size()).toEqual(nothing)
  })

  test('shrinks by a bounded amount per expire, and to nothing in the end', async () => {
    const ledger = createMemoryLedger<string>({ rememberEndedMs: 0 })
    const quota = quotaOf({ window: calendar('minute') })
    for (let index = 0; index < 6000; index += 1) {
      const id = String(index)
      const request = { id, idempotencyKey: id, context: '', leaseMs: 1000 }
      await ledger.reserve({ ...request, holds: [holdOf(quota, 1, id)] }, startMs)
    }
    const ended = []
    for (let turns = 0; turns < 3; turns += 1) {
      ended.push((await ledger.expire(startMs + 1000)).length)
    }
    expect(ended).toEqual([2500, 2500, 1000])
    for (let turns = 0; turns < 9; turns += 1) await ledger.expire(startMs + 60_000)
    expect(ledger.size()).toEqual(nothing)
  })
})

describe('the bound of the memory ledger', () => {
  test('follows from the heap where nothing else is said: a quarter each, a 32nd for what has ended, up to a bound', () => {
    expect(boundsIn(384 * 2 ** 20)).toEqual({
      maxPartitions: 83_886,
      maxReservations: 100_663,
      maxEndedBytes: 12 * 2 ** 20,
    })
    expect(boundsIn(64 * 2 ** 30)).toEqual({
      maxPartitions: 1e6,
      maxReservations: 1e6,
      maxEndedBytes: 2 ** 28,
    })
  })

  const minute = quotaOf({ window: calendar('minute') })
  const day = quotaOf({ name: 'day', limit: 1000, window: calendar('day') })
  const asked = (id: string, holds: readonly ReturnType<typeof holdOf>[]) => ({
    ...requestOf(id),
    holds,
  })

  test('refuses new partitions alone, names them, and holds nothing of their request', async () => {
    const ledger = createMemoryLedger<string>({ maxPartitions: 2 })
    await ledger.reserve(asked('a', [holdOf(minute, 1, 'a'), holdOf(day, 1)]), startMs)
    const fresh = holdOf(minute, 1, 'b')
    const refused = ledger.reserve(asked('b', [holdOf(day, 1), fresh]), startMs)
    await expect(refused).rejects.toThrow(FullError)
    await expect(refused).rejects.toMatchObject({ dependency: 'ledger', holds: [fresh] })
    expect(await ledger.balances([holdOf(day, 0)], startMs)).toMatchObject([{ reserved: 1 }])
    expect(ledger.size()).toEqual({ partitions: 2, reservations: 1, idempotencyKeys: 1 })
    expect(await ledger.reserve(asked('b', [holdOf(day, 1)]), startMs)).toMatchObject({
      kind: 'held',
    })
  })

  test('counts a partition once that a request holds twice', async () => {
    const ledger = createMemoryLedger<string>({ maxPartitions: 1 })
    const holds = [holdOf(day, 1), holdOf(day, 2)]
    expect(await ledger.reserve(asked('a', holds), startMs)).toMatchObject({ kind: 'held' })
  })

  test('evicts nothing that still limits, whatever the flood', async () => {
    const ledger = createMemoryLedger<string>({ maxPartitions: 10 })
    for (let index = 0; index < 10; index += 1) {
      await ledger.reserve(
        asked(`kept ${String(index)}`, [holdOf(day, 900, String(index))]),
        startMs,
      )
    }
    for (let index = 10; index < 500; index += 1) {
      const refused = ledger.reserve(asked(String(index), [holdOf(day, 1, String(index))]), startMs)
      await expect(refused).rejects.toThrow(FullError)
    }
    for (let index = 0; index < 10; index += 1) {
      const again = asked(`again ${String(index)}`, [holdOf(day, 101, String(index))])
      expect(await ledger.reserve(again, startMs)).toMatchObject({ kind: 'short' })
    }
  })

  test('gives the place of what counts no more to the next that comes, before any expire', async () => {
    const ledger = createMemoryLedger<string>({ maxPartitions: 3 })
    for (const id of ['a', 'b', 'c']) {
      await ledger.reserve(asked(id, [holdOf(minute, 5, id)]), startMs)
      await ledger.end(id, { kind: 'settled', inputTokens: 5, outputTokens: 0 }, startMs)
    }
    const early = ledger.reserve(asked('d', [holdOf(minute, 5, 'd')]), startMs + 59_999)
    await expect(early).rejects.toThrow(FullError)
    for (const id of ['d', 'e', 'f']) {
      const request = asked(id, [holdOf(minute, 5, id)])
      expect(await ledger.reserve(request, startMs + 60_000)).toMatchObject({ kind: 'held' })
    }
    expect(ledger.size().partitions).toBe(3)
  })

  test('is kept where a partition of the same request has just been freed', async () => {
    const ledger = createMemoryLedger<string>({ maxPartitions: 1 })
    await ledger.reserve(asked('a', [holdOf(minute, 5, 'a')]), startMs)
    await ledger.end('a', { kind: 'settled', inputTokens: 5, outputTokens: 0 }, startMs)
    const holds = [holdOf(minute, 5, 'a'), holdOf(minute, 5, 'b')]
    const refused = ledger.reserve(asked('b', holds), startMs + 60_000)
    await expect(refused).rejects.toMatchObject({ holds })
  })

  test('holds for reservations too, until they are ended and forgotten', async () => {
    const ledger = createMemoryLedger<string>({ maxReservations: 2 })
    for (const id of ['a', 'b']) await ledger.reserve(asked(id, [holdOf(day, 1)]), startMs)
    const third = asked('c', [holdOf(day, 1)])
    await expect(ledger.reserve(third, startMs)).rejects.toMatchObject({ holds: third.holds })
    await ledger.end('a', { kind: 'released' }, startMs)
    expect(await ledger.reserve(third, startMs)).toMatchObject({ kind: 'held' })
  })

  test('holds for what is remembered of ended reservations, by what they hold: the oldest are forgotten', async () => {
    const maxEndedBytes = 4 * bytesOf({ holds: [holdOf(day, 1)] })
    const ledger = createMemoryLedger<string>({ maxEndedBytes })
    for (let index = 0; index < 20; index += 1) {
      const id = String(index)
      await ledger.reserve(asked(id, [holdOf(day, 1)]), startMs)
      await ledger.end(id, { kind: 'settled', inputTokens: 1, outputTokens: 0 }, startMs)
    }
    expect(ledger.size()).toMatchObject({ idempotencyKeys: 4 })
    expect(await ledger.reserve(asked('18', [holdOf(day, 1)]), startMs)).toMatchObject({
      repeated: true,
      reservation: { id: '18' },
    })
    // It is charged again, and passes by that.
    expect(await ledger.reserve(asked('0', [holdOf(day, 1)]), startMs)).toMatchObject({
      repeated: false,
      balances: [{ spent: 20, reserved: 1 }],
    })
    const wide = Array.from({ length: 20 }, () => holdOf(day, 1))
    await ledger.reserve(asked('wide', wide), startMs)
    await ledger.end('wide', { kind: 'settled', inputTokens: 1, outputTokens: 0 }, startMs)
    expect(ledger.knows('wide')).toBe(false)
    expect(ledger.knows('19')).toBe(true)
  })

  test('says of a request that does not fit anyway that it is short', async () => {
    const ledger = createMemoryLedger<string>({ maxPartitions: 1 })
    await ledger.reserve(asked('a', [holdOf(day, 1000)]), startMs)
    const holds = [holdOf(day, 1), holdOf(minute, 1, 'b')]
    expect(await ledger.reserve(asked('b', holds), startMs)).toMatchObject({ kind: 'short' })
  })
})
