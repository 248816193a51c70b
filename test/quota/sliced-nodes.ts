import { vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import type { End, Hold, Ledger } from '../../src/quota/ledger.js'
import { UnansweredError } from '../../src/store/store.js'
import type { Reply } from '../../src/store/store.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { onEmptyCluster } from './on-redis.js'
import { holdsOnThreeNodes, openProcess } from './three-nodes.js'
import type { Spoil } from './three-nodes.js'

// Processes that decide from slices on a cluster of three; what they ask of which node is written down, lost, or late.

export type Scripts = Parameters<Spoil>[0]
export interface Told {
  readonly script: Scripts
  readonly bucket: number
}

export const atMs = Date.parse('2026-02-02T00:00:00Z')
export const onThree = holdsOnThreeNodes(1000).map((hold) =>
  hold.quota.unit === 'tokens' ? { ...hold, quota: { ...hold.quota, limit: 100_000 } } : hold,
) as [Hold, Hold, Hold]
export const [home, away, third] = onThree

let made = 0
export function requestOf(holds: readonly Hold[] = onThree, leaseMs = 60_000) {
  const id = `reservation-${String((made += 1))}`
  return { id, idempotencyKey: `stream ${id}`, holds, context: `context of ${id}`, leaseMs }
}

/** Decides it; the id that its answer has. */
export async function hold(
  ledger: Ledger<string>,
  request = requestOf(),
  at = atMs,
): Promise<string> {
  const answer = await ledger.reserve(request, at)
  if (answer.kind !== 'held') throw new Error(`${answer.quota.name} is short`)
  return answer.reservation.id
}

export const settled: End = { kind: 'settled', inputTokens: 4, outputTokens: 0 }

/** Of so many requests that are held, and so many that were settled. */
export const standing = (held: number, ended = 0) => [
  [4 * ended, 10 * held],
  [4 * ended, 10 * held],
  [0, held],
]

/** A cluster of the file's own, empty before each test, and the processes on it, which are closed after it. */
export function onSlicedNodes() {
  const on = onEmptyCluster()
  const { ledgers, closeAll } = on

  /** What came late. */
  const sent: Promise<unknown>[] = []

  /** As one process would have it: what it asks is written down, and may be lost before it runs. */
  function open(moments: 'given' | undefined = 'given', sliced = true, timeoutMs = 5000) {
    const spoilt = {
      asked: [] as Told[],
      lose: (_: Told): boolean => false,
      /** It is sent then, and its answer is lost. */
      late: (_: Told): Promise<unknown> | undefined => undefined,
      /** Awaited before it is sent. */
      onAsked: (_: Told): Promise<unknown> => Promise.resolve(),
      onAnswered: (_: Told, _reply: Reply): unknown => undefined,
    }
    const spoil = async (
      script: Scripts,
      bucket: number,
      send: () => Promise<Reply>,
    ): Promise<Reply> => {
      const told = { script, bucket }
      spoilt.asked.push(told)
      await spoilt.onAsked(told)
      if (spoilt.lose(told)) throw new DependencyError('ledger', 'lost')
      const later = spoilt.late(told)
      if (later !== undefined) {
        sent.push(later.then(send))
        throw new UnansweredError('late')
      }
      const reply = await send()
      spoilt.onAnswered(told, reply)
      return reply
    }
    // What the monotonic clock shows beyond the time that passes.
    const ahead = { ms: 0 }
    const clock = { monotonicMs: () => systemClock.monotonicMs() + ahead.ms }
    const tuning = sliced ? { tuning: { isSliced: () => true, warmMs: Infinity } } : {}
    const differences = { spoil, moments, timeoutMs, clock, bucketsPerExpire: 256, ...tuning }
    const ledger = openProcess(on.group, differences)
    ledgers.push(ledger)
    return { ...ledger, spoilt, ahead }
  }
  /** One that has slices of all three, and holds nothing else. */
  async function opened(...args: Parameters<typeof open>): Promise<ReturnType<typeof open>> {
    const ledger = open(...args)
    await ledger.end(await hold(ledger), { kind: 'released' }, atMs)
    ledger.spoilt.asked.length = 0
    return ledger
  }

  /** Spent and reserved of each, as they stand in Redis. */
  async function figures(holds: readonly Hold[] = onThree, at: number | undefined = atMs) {
    const balances = await open('given', false).balances(holds, at)
    return balances.map(({ spent, reserved }) => [spent, reserved])
  }

  const pass = (ms: number): Promise<void> => passTime(on.group, ms)

  return { group: () => on.group, ledgers, closeAll, sent, open, opened, figures, pass }
}

/** The nodes forget what they keep for no longer than this. */
export async function passTime({ masters }: ClusterGroup, ms: number): Promise<void> {
  for (const { client } of masters) {
    for (const key of await client.keys('*')) {
      const leftMs = (await client.pttl(key)) - ms
      if (leftMs > 0) await client.pexpire(key, leftMs)
      else await client.del(key)
    }
  }
}

export type Process = ReturnType<ReturnType<typeof onSlicedNodes>['open']>

export const turnsOf = ({ spoilt }: Process): number[] =>
  spoilt.asked.filter(({ script }) => script === 'turn').map(({ bucket }) => bucket)
export const decisionsOf = ({ spoilt }: Process): number =>
  spoilt.asked.filter(({ script }) => script === 'reserve').length

export function eventually<T>(ask: () => Promise<T> | T): Promise<T> {
  return vi.waitFor(ask, { timeout: 25_000, interval: 10 })
}
