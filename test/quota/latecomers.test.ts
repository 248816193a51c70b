import { expect, test } from 'vitest'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { createSmallStore } from './small-store.js'

const quota = quotaOf({
  name: 'local',
  limit: 100,
  window: calendar('day'),
  onStoreFailure: 'local',
})

/** What a process that joins after an outage may hold by its own share in the next one. */
async function shareOfLatecomer(usedInFirstOutage: boolean): Promise<string> {
  const store = createSmallStore(5_000_000)
  let nowMs = Date.parse('2026-02-02T00:00:00Z')
  const processes = [store.join(), store.join()]
  const reserve = (by: number, id: string) =>
    processes[by]?.ledger.reserve(
      { id, idempotencyKey: id, holds: [holdOf(quota, 10)], context: id, leaseMs: 60_000 },
      nowMs,
    )
  const upkeep = async (): Promise<void> => {
    for (let second = 0; second < 11; second += 1) {
      for (const { ledger } of processes) await ledger.expire(nowMs).catch(() => undefined)
      nowMs += 1000
      store.atMs += 1000
    }
  }
  await upkeep()
  store.isUp = false
  if (usedInFirstOutage) expect(await reserve(0, 'first')).toMatchObject({ kind: 'held' })
  await upkeep()
  store.isUp = true
  await upkeep()
  processes.push(store.join())
  await upkeep()
  store.isUp = false
  return (await reserve(2, 'late'))?.kind ?? ''
}

test('a process that comes after others used their shares has none in that window', async () => {
  expect(await shareOfLatecomer(true)).toBe('unavailable')
})

test('one that comes when nobody has used a share has its own', async () => {
  expect(await shareOfLatecomer(false)).toBe('held')
})
