import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import type { GuardedHeld } from '../../src/quota/failover/guarded-ledger.js'
import type { Ended, Hold } from '../../src/quota/ledger.js'
import type { OnStoreFailure } from '../../src/quota/quota.js'
import { runs } from '../runs.js'
import { calendar, holdOf, quotaOf } from './quotas.js'
import { createStoreInParts } from './store-in-parts.js'

const startMs = Date.parse('2026-02-02T00:00:00Z')
const leaseMs = 60_000

function holdAt(name: string, onStoreFailure: OnStoreFailure, changes = {}): Hold {
  const window = calendar('month')
  return holdOf(quotaOf({ name, limit: 60, window, onStoreFailure, ...changes }), 10)
}
const holds = [
  holdAt('a', 'local'),
  holdAt('b', 'local'),
  holdAt('c', 'allow'),
  { ...holdAt('d', 'local', { unit: 'in_flight', window: { kind: 'open' } }), amount: 1 },
]

const which = fc.nat({ max: 30 })
const comesBack = fc.constantFrom('before' as const, 'meanwhile' as const, 'later' as const)
const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('ask' as const), process: which }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('repeat' as const), process: which, which }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('giveUp' as const), which }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('report' as const), process: which, which }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('turn' as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lease' as const) }) },
)

const commands = fc.array(command, { minLength: 5, maxLength: 50 })

interface Pass {
  readonly process: number
  readonly stream: string
  readonly held: GuardedHeld<string>
  over: boolean
}

test('however parts of the store go and come, a pass is whole until its report, and what becomes of it is told once', async () => {
  let inParts = 0
  await fc.assert(
    fc.asyncProperty(commands, fc.infiniteStream(comesBack), async (commands, backs) => {
      const store = createStoreInParts()
      store.comesBack = () => backs.next().value as 'before'
      const processes = [store.join(), store.join()]
      let nowMs = startMs
      const told = new Map<string, string[]>()
      const passes: Pass[] = []
      let ids = 0
      const tell = ({ reservation, outcome, charges, late }: Ended<string>): void => {
        expect(charges).toHaveLength(reservation.holds.length)
        // What was found a lease later is said to be late.
        const name = late ? `${outcome} late` : outcome
        told.set(reservation.id, [...(told.get(reservation.id) ?? []), name])
      }
      const failing = async <T>(ask: () => Promise<T>): Promise<T | undefined> => {
        try {
          return await ask()
        } catch (error) {
          if (!(error instanceof DependencyError)) throw error
          return undefined
        }
      }
      const beat = async (): Promise<void> => {
        for (const { ledger } of processes) {
          for (const ended of (await failing(() => ledger.expire(nowMs))) ?? []) tell(ended)
        }
      }
      const ask = async (process: number, stream: string): Promise<void> => {
        const request = { id: String((ids += 1)), idempotencyKey: stream, holds, context: stream }
        const { ledger } = processes[process] as (typeof processes)[0]
        const held = await failing(() => ledger.reserve({ ...request, leaseMs }, nowMs))
        if (held?.kind !== 'held') return
        passes.push({ process, stream, held, over: false })
        const { holds: all } = held.reservation
        if (held.fallback?.localQuotas.length !== all.length) {
          inParts += held.fallback?.localQuotas.length ?? 0
        }
        expect(held.balances.length === 0 || held.balances.length === all.length).toBe(true)
      }
      const open = (): Pass[] => passes.filter(({ over }) => !over)
      const isWhole = async (): Promise<void> => {
        const byShare = new Map<string, Set<string>>()
        for (const { process, held } of open()) {
          const { id, holds: all } = held.reservation
          const here = held.fallback?.localQuotas ?? []
          const { ledger } = processes[process] as (typeof processes)[0]
          // The memory of the store, or of the process, which knows all of it.
          expect(await ledger.find(id, nowMs), id).toBeDefined()
          for (const { quota } of all) {
            if (!here.includes(quota.name)) continue
            const share = `${String(process)} ${quota.name}`
            byShare.set(share, (byShare.get(share) ?? new Set()).add(id))
          }
        }
        for (const [process, { local }] of processes.entries()) {
          const balances = await local.balances(holds, nowMs)
          for (const [index, { spent, reserved }] of balances.entries()) {
            const hold = holds[index] as Hold
            const ids = byShare.get(`${String(process)} ${hold.quota.name}`)?.size ?? 0
            expect(spent + reserved).toBeGreaterThanOrEqual(ids * hold.amount)
            expect(spent + reserved).toBeLessThanOrEqual(hold.quota.limit / 2)
          }
        }
      }

      await beat()
      await beat()
      for (const asked of commands) {
        switch (asked.do) {
          case 'ask':
            await ask(asked.process % 2, `stream ${String((ids += 1))}`)
            break
          case 'repeat': {
            const pass = open()[asked.which % Math.max(1, open().length)]
            if (pass !== undefined) await ask(asked.process % 2, pass.stream)
            break
          }
          case 'giveUp': {
            const pass = open()[asked.which % Math.max(1, open().length)]
            if (pass === undefined) break
            pass.over = true
            const { reservation, carrier } = pass.held
            const { ledger } = processes[pass.process] as (typeof processes)[0]
            const ended = await failing(() => ledger.abandon(reservation.id, nowMs, carrier))
            if (ended !== undefined) tell(ended)
            break
          }
          case 'report': {
            const pass = open()[asked.which % Math.max(1, open().length)]
            const process = processes[asked.process % 2]
            if (pass === undefined || process === undefined) break
            const { id } = pass.held.reservation
            const end = { kind: 'settled', inputTokens: 4, outputTokens: 0 } as const
            const found = await failing(() => process.ledger.find(id, nowMs))
            if (found === undefined) break
            const ended = await failing(() => process.ledger.end(id, end, nowMs))
            if (ended === undefined) break
            tell(ended)
            for (const other of passes) if (other.stream === pass.stream) other.over = true
            break
          }
          case 'turn': {
            const { partitionKey } = holds[asked.which % holds.length] as Hold
            if (!store.away.delete(partitionKey)) store.away.add(partitionKey)
            break
          }
          case 'lease':
            nowMs += leaseMs
            await beat()
            for (const pass of passes) pass.over = true
            break
        }
        await isWhole()
      }

      store.away.clear()
      for (let times = 0; times < 3; times += 1) {
        await beat()
        nowMs += leaseMs
      }
      for (const ledger of [store.ledger, ...processes.map(({ local }) => local)]) {
        const balances = await ledger.balances(holds, nowMs)
        expect(balances.map(({ reserved }) => reserved)).toEqual([0, 0, 0, 0])
      }
      for (const [id, outcomes] of told) {
        const whenItEnded = outcomes.filter((outcome) => !outcome.endsWith('late'))
        expect(whenItEnded.length, `${id}: ${outcomes.join()}`).toBeLessThanOrEqual(1)
        expect(outcomes.length - whenItEnded.length).toBeLessThanOrEqual(1)
      }
      for (const { held } of passes) expect(told.has(held.reservation.id)).toBe(true)
    }),
    { numRuns: runs(300) },
  )
  // A property of what never happens would hold as well.
  expect(inParts).toBeGreaterThan(100)
})
