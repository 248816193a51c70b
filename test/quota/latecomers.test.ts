import { beforeEach, expect, test } from 'vitest'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { createSmallStore } from './small-store.js'
import type { SmallProcess, SmallStore } from './small-store.js'

// What processes admit by their shares in several outages of one window, where some of them come late, are cut off, or
// are forgotten: the limit at most, all together (docs/design.md).

const LIMIT = 60
const quota = quotaOf({
  name: 'local',
  limit: LIMIT,
  window: calendar('day'),
  onStoreFailure: 'local',
})

let store: SmallStore
let nowMs: number
let admitted: number

beforeEach(() => {
  store = createSmallStore(5_000_000)
  nowMs = Date.parse('2026-02-02T00:00:00Z')
  admitted = 0
})

async function stay(seconds: number, ...processes: readonly SmallProcess[]): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    for (const { ledger } of processes) await ledger.expire(nowMs).catch(() => undefined)
    nowMs += 1000
    store.atMs += 1000
  }
}

/** So many, for so long that each has its share. */
async function start(count: number): Promise<SmallProcess[]> {
  const processes = Array.from({ length: count }, () => store.join())
  await stay(13, ...processes)
  return processes
}

/** All that it can. */
async function fill(process: SmallProcess, of = quota): Promise<number> {
  for (let own = 0; ; own += 1) {
    if (own === LIMIT) return own
    const id = String(admitted)
    const request = { id, idempotencyKey: id, holds: [holdOf(of, 1)], context: id }
    const held = await process.ledger.reserve({ ...request, leaseMs: 60_000 }, nowMs)
    if (held.kind !== 'held') return own
    admitted += 1
  }
}

async function outage(...processes: readonly SmallProcess[]): Promise<number[]> {
  store.isUp = false
  const filled: number[] = []
  for (const process of processes) filled.push(await fill(process))
  await stay(2, ...processes)
  store.isUp = true
  return filled
}

test('one that comes after others used their shares has what is left', async () => {
  const [one, other] = (await start(2)) as [SmallProcess, SmallProcess]
  expect(await outage(one)).toEqual([30])
  await stay(5, one, other)
  const late = store.join()
  await stay(5, one, other, late)
  expect(await outage(one, other, late)).toEqual([0, 20, 10])
  expect(admitted).toBe(LIMIT)
})

test('one that comes when all shares were used has none in that window', async () => {
  const both = (await start(2)) as [SmallProcess, SmallProcess]
  expect(await outage(...both)).toEqual([30, 30])
  const late = store.join()
  await stay(20, ...both, late)
  expect(await outage(...both, late)).toEqual([0, 0, 0])
})

test('one that is cut off for more than a minute keeps its share, and whoever comes in its place has none of it', async () => {
  const [one, other, third] = (await start(3)) as [SmallProcess, SmallProcess, SmallProcess]
  third.isCutOff = true
  await stay(90, one, other, third)
  const late = store.join()
  await stay(20, one, other, third, late)
  expect(await fill(third)).toBe(20)
  expect(await outage(one, other, late)).toEqual([15, 15, 10])
  third.isCutOff = false
  await stay(20, one, other, third, late)
  expect(await outage(one, other, third, late)).toEqual([0, 0, 0, 0])
  expect(admitted).toBe(LIMIT)
})

test('what one has used that dies in the outage counts, though it has told nobody', async () => {
  const [one, other] = (await start(2)) as [SmallProcess, SmallProcess]
  store.isUp = false
  expect(await fill(other)).toBe(30)
  await stay(90, one)
  store.isUp = true
  const late = store.join()
  await stay(90, one, late)
  const filled = await outage(one, late)
  expect(filled).toEqual([20, 10])
  expect(admitted).toBe(LIMIT)
})

test('what one has used that has gone counts also where the store has lost its memory since', async () => {
  const [one, other] = (await start(2)) as [SmallProcess, SmallProcess]
  expect(await outage(other)).toEqual([30])
  await stay(2, one, other)
  await other.ledger.close()
  await stay(2, one)
  store.lose()
  const late = store.join()
  await stay(20, late, one)
  expect(await outage(one, late)).toEqual([20, 10])
  expect(admitted).toBe(LIMIT)
})

test('one that a store which lost its memory does not see has its share, as the others say', async () => {
  const [one, other, third] = (await start(3)) as [SmallProcess, SmallProcess, SmallProcess]
  third.isCutOff = true
  store.lose()
  const late = store.join()
  await stay(30, late, one, other, third)
  expect(await fill(third)).toBe(20)
  expect(await outage(one, other, late)).toEqual([15, 15, 10])
  expect(admitted).toBe(LIMIT)
})

test('one that comes while another is cut off has what all have used left, whoever told of it last', async () => {
  const [one, other] = (await start(2)) as [SmallProcess, SmallProcess]
  other.isCutOff = true
  expect(await fill(other)).toBe(30)
  await stay(70, one, other)
  const late = store.join()
  await stay(5, one, other, late)
  // By a claim that counts the third.
  expect(await outage(one)).toEqual([20])
  other.isCutOff = false
  await stay(5, one, other, late)
  expect(await outage(one, other, late)).toEqual([0, 0, 10])
  expect(admitted).toBe(LIMIT)
})

test('what a shadow quota has held takes nothing from one that comes', async () => {
  const [one, other] = (await start(2)) as [SmallProcess, SmallProcess]
  store.isUp = false
  expect(await fill(one, { ...quota, name: 'shadow', shadow: true })).toBe(LIMIT)
  store.isUp = true
  const late = store.join()
  await stay(5, one, other, late)
  expect(await outage(one, other, late)).toEqual([20, 20, 20])
})
