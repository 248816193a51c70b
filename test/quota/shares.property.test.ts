import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Quota } from '../../src/quota/quota.js'
import { createTimelines } from '../../src/quota/windows.js'
import { runs } from '../runs.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { createSmallStore } from './small-store.js'
import type { SmallProcess } from './small-store.js'

const startMs = Date.parse('2026-02-02T00:00:00Z')
const base = { limit: 60, onStoreFailure: 'local' } as const
const quotas: readonly Quota[] = [
  quotaOf({ ...base, name: 'sliding', window: { kind: 'sliding', lengthMs: 30_000 } }),
  quotaOf({ ...base, name: 'long', window: { kind: 'sliding', lengthMs: 600_000 } }),
  quotaOf({ ...base, name: 'calendar', window: calendar('minute') }),
  quotaOf({ ...base, name: 'parallel', unit: 'in_flight', window: { kind: 'open' } }),
]
const leaseMs = 120_000
const timelineOf = createTimelines()

const which = fc.nat({ max: 20 })
const command = fc.oneof(
  // What every process can get of a quota, or one of them.
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('fill' as const),
      quota: fc.nat({ max: quotas.length - 1 }),
      only: fc.option(which, { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('end' as const), which }) },
  // The store comes back to one of them first.
  { weight: 2, arbitrary: fc.record({ do: fc.constant('beat' as const), which }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      seconds: fc.oneof(fc.constantFrom(1, 2, 12, 12, 62), fc.integer({ min: 1, max: 90 })),
    }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('turn' as const), isUp: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('cut' as const),
      which,
      seconds: fc.integer({ min: 1, max: 55 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('join' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), which }) },
)

interface Admitted {
  readonly process: SmallProcess
  readonly id: string
  readonly quota: Quota
  readonly amount: number
  readonly atMs: number
  ended: boolean
}

// Invariant 3: while the store is away, all processes together admit at most the limit once more.
test('however often the store goes, loses its memory and comes back, and processes come and go, all shares together are at most the limit in any window', async () => {
  let admittedInAll = 0
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(command, { minLength: 10, maxLength: 60 }),
      async (count, commands) => {
        const store = createSmallStore(startMs - 7_000_000)
        const processes = Array.from({ length: count }, () => store.join())
        const admitted: Admitted[] = []
        let nowMs = startMs
        let ids = 0

        const beat = async ({ ledger }: SmallProcess): Promise<void> => {
          await ledger.expire(nowMs).catch(() => undefined)
        }
        const wait = async (seconds: number): Promise<void> => {
          for (let second = 0; second < seconds; second += 1) {
            nowMs += 1000
            store.atMs += 1000
            for (const process of processes) {
              if ((cutOffUntil.get(process) ?? 0) <= nowMs) process.isCutOff = false
              await beat(process)
            }
          }
        }
        const cutOffUntil = new Map<SmallProcess, number>()
        const counts = ({ quota, atMs, ended }: Admitted): boolean => {
          const timeline = timelineOf(quota.window)
          if (timeline.kind === 'open') return !ended && atMs + leaseMs > nowMs
          return timeline.cellAt(atMs) >= timeline.oldestCellAt(nowMs)
        }
        const reserve = async (
          process: SmallProcess,
          quota: Quota,
          amount: number,
        ): Promise<boolean> => {
          const id = String((ids += 1))
          const held = await process.ledger.reserve(
            { id, idempotencyKey: id, holds: [holdOf(quota, amount)], context: '', leaseMs },
            nowMs,
          )
          if (held.kind !== 'held' || held.fallback === undefined) return false
          admitted.push({
            process,
            id: held.reservation.id,
            quota,
            amount,
            atMs: nowMs,
            ended: false,
          })
          admittedInAll += 1
          const used = admitted.filter((one) => one.quota === quota && counts(one))
          const sum = used.reduce((total, one) => total + one.amount, 0)
          expect(sum, `${quota.name} over ${String(processes.length)}`).toBeLessThanOrEqual(
            quota.limit,
          )
          return true
        }
        const fill = async (process: SmallProcess, quota: Quota): Promise<void> => {
          // What is held while the store answers is no share.
          if (!store.isUp || process.isCutOff)
            for (const amount of [9, 4, 1]) while (await reserve(process, quota, amount));
        }

        await wait(12)
        for (const asked of commands) {
          switch (asked.do) {
            case 'fill': {
              const quota = quotas[asked.quota]
              const only = asked.only === undefined ? undefined : asked.only % processes.length
              for (const [index, process] of processes.entries()) {
                if (quota === undefined || (only !== undefined && index !== only)) continue
                await fill(process, quota)
              }
              break
            }
            case 'beat': {
              nowMs += 300
              store.atMs += 300
              const process = processes[asked.which % processes.length]
              if (process !== undefined) await beat(process)
              break
            }
            case 'end': {
              const one = admitted[asked.which % Math.max(1, admitted.length)]
              if (one === undefined || one.ended) break
              const end = { kind: 'settled', inputTokens: one.amount, outputTokens: 0 } as const
              await one.process.ledger.end(one.id, end, nowMs)
              one.ended = true
              break
            }
            case 'wait':
              await wait(asked.seconds)
              break
            case 'turn':
              store.isUp = asked.isUp
              break
            case 'lose':
              // As a Redis that is killed, and starts again without what it knew.
              store.lose()
              // It has counted all when 10 s are over.
              for (const [process, untilMs] of cutOffUntil) {
                cutOffUntil.set(process, Math.min(untilMs, nowMs + 8000))
              }
              break
            case 'cut': {
              // Not for so long that the others count it no more.
              const process = processes[asked.which % processes.length]
              if (process === undefined || !store.isUp) break
              process.isCutOff = true
              cutOffUntil.set(process, nowMs + asked.seconds * 1000)
              break
            }
            case 'join':
              if (processes.length < 8) processes.push(store.join())
              break
            case 'leave': {
              // One that dies before it could tell of what it admitted takes that with it (docs/design.md).
              const index = asked.which % processes.length
              const leaving = processes[index]
              if (!store.isUp || processes.length === 1 || leaving?.isCutOff !== false) break
              await beat(leaving)
              processes.splice(index, 1)
              break
            }
          }
        }
      },
    ),
    { numRuns: runs(150) },
  )
  // A property of what never happens would hold as well.
  expect(admittedInAll).toBeGreaterThan(300)
})
