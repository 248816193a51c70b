import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Quota } from '../../src/quota/quota.js'
import { createTimelines } from '../../src/quota/windows/windows.js'
import { runs } from '../runs.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { createSmallStore } from './small-store.js'
import type { SmallProcess, SmallStore } from './small-store.js'

const startMs = Date.parse('2026-02-02T00:00:00Z')
const base = { limit: 60, onStoreFailure: 'local' } as const
const quotas: readonly Quota[] = [
  quotaOf({ ...base, name: 'sliding', window: { kind: 'sliding', lengthMs: 30_000 } }),
  quotaOf({ ...base, name: 'long', window: { kind: 'sliding', lengthMs: 600_000 } }),
  quotaOf({ ...base, name: 'calendar', window: calendar('minute') }),
  quotaOf({ ...base, name: 'parallel', unit: 'in_flight', window: { kind: 'open' } }),
]
/** The first two are of different horizons (`shares.ts`). */
const leasesMs = [120_000, 600_000] as const
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
  // A short one, and the next: what was used by the first counts in the second.
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('outage' as const),
      quota: fc.nat({ max: quotas.length - 1 }),
      only: fc.option(which, { nil: undefined }),
    }),
  },
  // At first it is heard and does not hear.
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('cut' as const),
      which,
      deafSeconds: fc.constantFrom(0, 0, 1, 2, 90),
      seconds: fc.constantFrom(0, 20, 55, 95, 130, 300),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('join' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('leave' as const), which }) },
  // A policy with another lease.
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reload' as const) }) },
  // With what it has not told, and perhaps with one in its place.
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('die' as const), which, isReplaced: fc.boolean() }),
  },
)

/** By how long the claims of the quotas count after their process is silent (`shares.ts`). */
const horizonMs = (quota: Quota): number => (quota.name === 'long' ? 3 * 3_600_000 : 120_000)

interface Admitted {
  readonly process: SmallProcess
  readonly id: string
  readonly quota: Quota
  readonly amount: number
  readonly atMs: number
  readonly leaseMs: number
  /** Nobody can know of it, as docs/design.md says. */
  readonly isLost: () => boolean
  ended: boolean
}

interface Known {
  heardMs: number
  /** When others were first heard after it was silent for a minute. */
  missedMs: number | undefined
  /** Of the store that told it something last, and of whom it was told. */
  generation: number
  of: ReadonlySet<SmallProcess>
  /** Of an earlier store, to be told to this one. */
  earlier: ReadonlySet<SmallProcess> | undefined
  /** What it admits by these quotas nobody can know, from now on until it is told something. */
  readonly lost: Set<Quota>
}

/**
 * What a store can know of a process, said apart from how it does: what docs/design.md excepts.
 * - It was silent for a minute while others were heard, and then for longer than its claims count.
 * - The store lost its memory, and none of those whom it had told of the process came within 10 s.
 */
function createKnowledge(store: SmallStore, moment: () => number) {
  const all = new Map<SmallProcess, Known>()
  let generation = 1
  let inStore = new Set<SmallProcess>()
  let settlingMs: number | undefined

  const knownOf = (process: SmallProcess): Known => {
    const known = all.get(process) ?? {
      ...{ heardMs: -Infinity, missedMs: undefined, generation: 0, earlier: undefined },
      ...{ of: new Set(), lost: new Set() },
    }
    all.set(process, known)
    return known
  }

  return {
    heard(process: SmallProcess): void {
      const now = moment()
      const known = knownOf(process)
      const isOfEarlier = known.generation > 0 && known.generation < generation
      if (settlingMs === undefined || isOfEarlier || known.earlier !== undefined) settlingMs = now
      for (const each of known.earlier ?? []) inStore.add(each)
      inStore.add(process)
      known.heardMs = now
      known.missedMs = undefined
      for (const [other, one] of all) {
        if (other === process || one.generation === 0) continue
        if (now - one.heardMs > 60_000) one.missedMs ??= now
        const isForgotten = now - settlingMs >= 10_000 && !inStore.has(other)
        for (const quota of quotas) {
          const isSilent = one.missedMs !== undefined && now - one.missedMs > horizonMs(quota)
          if (isSilent || isForgotten) one.lost.add(quota)
        }
      }
    },
    told(process: SmallProcess): void {
      const known = knownOf(process)
      const isOfEarlier = known.generation > 0 && known.generation < generation
      known.earlier = isOfEarlier ? known.of : undefined
      known.generation = generation
      known.of = new Set(inStore)
      known.lost.clear()
    },
    lose(): void {
      generation += 1
      inStore = new Set()
      settlingMs = undefined
      store.lose()
    },
    /** Is what it admits now lost, or will it be? To be asked before it is told something. */
    admit(process: SmallProcess, quota: Quota): () => boolean {
      const { lost } = knownOf(process)
      let isLost = false
      return () => (isLost ||= lost.has(quota))
    },
  }
}

// Invariant 3: while the store is away, all processes together admit at most the limit once more.
test('however often the store goes, loses its memory, its answers are lost and processes come, go, die and are cut off, all shares together are at most the limit in any window', async () => {
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
        let leaseMs: number = leasesMs[0]

        const knowledge = createKnowledge(store, () => nowMs)
        const heard = (process: SmallProcess): void => {
          knowledge.heard(process)
          // What became lost is so, whatever is told afterwards.
          for (const one of admitted) one.isLost()
        }
        const beat = async (process: SmallProcess): Promise<void> => {
          const isHeard = store.isUp && !process.isCutOff
          if (isHeard) heard(process)
          await process.ledger.expire(nowMs).catch(() => undefined)
          if (isHeard && !process.isDeaf) knowledge.told(process)
        }
        const wait = async (seconds: number): Promise<void> => {
          for (let second = 0; second < seconds; second += 1) {
            nowMs += 1000
            store.atMs += 1000
            for (const process of processes) {
              const { deafUntilMs = 0, untilMs = 0 } = cutOff.get(process) ?? {}
              process.isDeaf = nowMs < deafUntilMs
              process.isCutOff = !process.isDeaf && nowMs < untilMs
              await beat(process)
            }
          }
        }
        const cutOff = new Map<SmallProcess, { deafUntilMs: number; untilMs: number }>()
        const counts = ({ quota, atMs, leaseMs: ofLeaseMs, ended }: Admitted): boolean => {
          const timeline = timelineOf(quota.window)
          if (timeline.kind === 'open') return !ended && atMs + ofLeaseMs > nowMs
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
            leaseMs,
            isLost: knowledge.admit(process, quota),
            ended: false,
          })
          if (admitted.at(-1)?.isLost() === false) admittedInAll += 1
          const used = admitted.filter((one) => one.quota === quota && !one.isLost() && counts(one))
          const sum = used.reduce((total, one) => total + one.amount, 0)
          expect(sum, `${quota.name} over ${String(processes.length)}`).toBeLessThanOrEqual(
            quota.limit,
          )
          return true
        }
        const fill = async (process: SmallProcess, quota: Quota): Promise<void> => {
          // What is held while the store answers is no share.
          if (!store.isUp || process.isCutOff || process.isDeaf)
            for (const amount of [9, 4, 1]) while (await reserve(process, quota, amount));
        }

        const fillAll = async (asked: {
          quota: number
          only?: number | undefined
        }): Promise<void> => {
          const quota = quotas[asked.quota]
          const only = asked.only === undefined ? undefined : asked.only % processes.length
          for (const [index, process] of processes.entries()) {
            if (quota === undefined || (only !== undefined && index !== only)) continue
            await fill(process, quota)
          }
        }

        /** Each has had requests with either lease: one that begins with a shorter one is the case that the design excepts. */
        const hasRequests = async (process: SmallProcess): Promise<void> => {
          for (const each of leasesMs) {
            const id = String((ids += 1))
            const request = { id, idempotencyKey: id, holds: [], context: '', leaseMs: each }
            await process.ledger.reserve(request, nowMs)
          }
        }
        const join = async (): Promise<void> => {
          const process = store.join()
          await hasRequests(process)
          processes.push(process)
        }

        await wait(12)
        for (const asked of commands) {
          switch (asked.do) {
            case 'fill':
              await fillAll(asked)
              break
            case 'outage':
              store.isUp = false
              await fillAll(asked)
              await wait(2)
              store.isUp = true
              await wait(15)
              break
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
              knowledge.lose()
              break
            case 'cut': {
              const process = processes[asked.which % processes.length]
              if (process === undefined || !store.isUp) break
              const deafUntilMs = nowMs + 1000 * asked.deafSeconds
              cutOff.set(process, { deafUntilMs, untilMs: deafUntilMs + 1000 * asked.seconds })
              process.isDeaf = asked.deafSeconds > 0
              process.isCutOff = !process.isDeaf
              break
            }
            case 'join':
              if (processes.length < 8) await join()
              break
            case 'reload':
              for (const process of processes) await hasRequests(process)
              leaseMs = leaseMs === leasesMs[0] ? leasesMs[1] : leasesMs[0]
              break
            case 'leave': {
              const index = asked.which % processes.length
              const leaving = processes[index]
              if (processes.length === 1 || leaving === undefined) break
              if (store.isUp && !leaving.isCutOff) heard(leaving)
              await leaving.ledger.close()
              processes.splice(index, 1)
              break
            }
            case 'die':
              if (processes.length === 1) break
              processes.splice(asked.which % processes.length, 1)
              if (asked.isReplaced) await join()
              break
          }
        }
      },
    ),
    { numRuns: runs(150) },
  )
  // A property of what never happens would hold as well.
  expect(admittedInAll).toBeGreaterThan(300)
})

test('after a reload to a shorter lease, what is in flight by the longer one counts in the shares of all', async () => {
  const parallel = quotas.find(({ window }) => window.kind === 'open') as Quota
  const [shortMs, longMs] = leasesMs
  const store = createSmallStore(startMs - 7_000_000)
  const processes = [store.join()]
  let nowMs = startMs
  let ids = 0
  const wait = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second += 1) {
      nowMs += 1000
      store.atMs += 1000
      for (const { ledger } of processes) await ledger.expire(nowMs).catch(() => undefined)
    }
  }
  /** How much one can get of it. */
  const fill = async ({ ledger }: SmallProcess, leaseMs: number): Promise<number> => {
    for (let held = 0; ; held += 1) {
      const id = String((ids += 1))
      const holds = [holdOf(parallel, 1)]
      const request = { id, idempotencyKey: id, holds, context: '', leaseMs }
      if ((await ledger.reserve(request, nowMs)).kind !== 'held') return held
    }
  }
  const outage = async (leaseMs: number): Promise<number> => {
    store.isUp = false
    let held = 0
    for (const process of processes) held += await fill(process, leaseMs)
    store.isUp = true
    return held
  }

  await wait(12)
  expect(await outage(longMs)).toBe(parallel.limit)
  processes.push(store.join())
  const other = processes[1] as SmallProcess
  const request = { id: 'other', idempotencyKey: 'other', holds: [], context: '', leaseMs: longMs }
  await other.ledger.reserve(request, nowMs)
  // Longer than what was admitted by the shorter lease may matter.
  await wait(200)
  expect(await outage(shortMs)).toBe(0)
  // Nothing is in flight any more by any of them, nor would the store have it that it is.
  await wait(2 * (longMs / 1000))
  expect(await outage(shortMs)).toBeGreaterThan(parallel.limit / 2)
})
