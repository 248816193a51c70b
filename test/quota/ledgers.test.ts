import { expect, test } from 'vitest'
import type { Hold } from '../../src/quota/ledger.js'
import { createLedger } from '../../src/quota/ledgers.js'
import { holdOf, quotaOf } from './quotas.js'

const startMs = Date.parse('2026-02-02T00:00:00Z')
const clock = { nowEpochMs: () => startMs, monotonicMs: () => 0 }
/** A quarter of it has room for three partitions, and for three reservations. */
const heapBytes = 4 * 3 * 1200

/** How many of ten are held, each with the hold that its number says, and settled at once or never. */
async function heldOfTen(
  maxPartitions: number | undefined,
  { settles, holdOfNumber }: { settles: boolean; holdOfNumber: (number: number) => Hold },
): Promise<number> {
  const ledger = createLedger<string>(
    { kind: 'memory', maxPartitions },
    { clock, random: () => 0, processId: 'a', heapBytes },
  )
  let held = 0
  for (let number = 0; number < 10; number += 1) {
    const id = String(number)
    const holds = [holdOfNumber(number)]
    const request = { id, idempotencyKey: id, holds, context: '', leaseMs: 60_000 }
    const answer = await ledger.reserve(request, startMs)
    if (answer.kind === 'held') held += 1
    else expect(answer).toMatchObject({ kind: 'unavailable', why: 'full' })
    if (settles) await ledger.end(id, { kind: 'settled', inputTokens: 1, outputTokens: 0 }, startMs)
  }
  return held
}

const quota = quotaOf()

test.each([
  ['as the policy says', 2, 2],
  ['where it says nothing, as the heap has room for', undefined, 3],
] as const)('partitions are so many: %s', async (_, maxPartitions, held) => {
  const holdOfNumber = (number: number): Hold => holdOf(quota, 1, String(number))
  expect(await heldOfTen(maxPartitions, { settles: true, holdOfNumber })).toBe(held)
})

test('reservations are so many as the heap has room for, whatever the policy says of partitions', async () => {
  expect(await heldOfTen(1000, { settles: false, holdOfNumber: () => holdOf(quota, 1) })).toBe(3)
})
