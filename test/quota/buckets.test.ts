import { describe, expect, test } from 'vitest'
import { CLUSTER_BUCKETS, createBuckets } from '../../src/quota/redis/buckets.js'
import type { Hold } from '../../src/quota/ledger.js'
import { SLOTS, slotOf } from '../../src/store/store.js'
import { holdOf, quotaOf } from './quotas.js'

const buckets = createBuckets(CLUSTER_BUCKETS)
const all = Array.from({ length: CLUSTER_BUCKETS }, (_, bucket) => bucket)

function holdIn(partitionKey: string): Hold {
  return { ...holdOf(quotaOf(), 1), partitionKey }
}

describe('the buckets of a cluster', () => {
  test('are the same in every release, or what was spent would be forgotten', () => {
    const [first, second, last] = [0, 1, 255].map((bucket) => buckets.tagOf(bucket))
    expect([buckets.count, first, second, last]).toEqual([256, '460', '14', '430'])
    expect(buckets.ofPartition('{acme}abc')).toBe(176)
    expect(buckets.ofPartition('{}abc')).toBe(93)
  })

  test('have a slot each, in equal distances', () => {
    const parts = all.map((bucket) =>
      Math.floor((slotOf(`{${buckets.tagOf(bucket)}}`) * 256) / SLOTS),
    )
    expect(parts).toEqual(all)
  })

  test('hold all partitions of a tenant in one, and those of no tenant by their own key', () => {
    const of = (key: string): number => buckets.ofPartition(key)
    expect(of('{acme}one')).toBe(of('{acme}two'))
    const spread = new Set(Array.from({ length: 50 }, (_, number) => of(`{}${String(number)}`)))
    expect(spread.size).toBeGreaterThan(30)
  })

  test('have the home of a reservation where its tenant is, whatever else it holds', () => {
    const [none, acme] = [holdIn('{}shared'), holdIn('{acme}one')]
    const home = buckets.ofPartition(acme.partitionKey)
    for (const holds of [[none, acme], [acme, none], [acme]]) {
      expect(buckets.homeOf({ holds, idempotencyKey: 'k' })).toBe(home)
    }
    expect(buckets.homeOf({ holds: [none], idempotencyKey: 'k' })).toBe(
      buckets.ofPartition('{}shared'),
    )
    expect(buckets.homeOf({ holds: [], idempotencyKey: 'k' })).toBe(buckets.ofPartition('k'))
    expect(buckets.partsOf([none, acme, none], home)).toEqual([
      { bucket: home, indices: [1] },
      { bucket: buckets.ofPartition('{}shared'), indices: [0, 2] },
    ])
  })

  test('are told by the id, and one that tells none is taken for some home', () => {
    for (const home of all) expect(buckets.homeOfId(buckets.nameId('id', home))).toBe(home)
    for (const id of ['', 'id', 'id-fff', 'id-0G0', '-']) expect(buckets.homeOfId(id)).toBe(0)
  })
})

test('a single server has one bucket, and ids as they are given', () => {
  const one = createBuckets(1)
  expect(one.tagOf(0)).toBe('0')
  expect(one.nameId('id', 0)).toBe('id')
  expect(one.homeOfId('id-0ff')).toBe(0)
  expect(one.partsOf([holdIn('{a}x'), holdIn('{b}y')], 0)).toEqual([{ bucket: 0, indices: [0, 1] }])
})
