import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import type { Ledger } from '../../src/quota/ledger.js'
import { createRedisLedger } from '../../src/quota/redis/redis-ledger.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { createSlicedLedger } from '../../src/quota/slices/sliced-ledger.js'
import { openStore } from '../../src/store/store.js'
import type { Store } from '../../src/store/store.js'
import type { RedisServer } from '../redis-server.js'
import { calendar, holdOf, quotaOf } from './quotas.js'

/** `unsent`: a turn fails before it ran. `lost`: it runs, and its answer is lost. `next unsent`: the next alone fails. */
export type TurnFate = 'runs' | 'unsent' | 'lost' | 'next unsent'

export interface SpoiltProcess extends Ledger<string> {
  readonly turns: { fate: TurnFate }
  /** The same of the calls that end something. */
  readonly ends: { fate: TurnFate }
}

const { turn, end } = loadRedisScripts()

/** A process that decides from slices from the first request on. The moments that a test passes count. */
export function openSpoilt(redis: RedisServer): SpoiltProcess {
  const turns: { fate: TurnFate } = { fate: 'runs' }
  const ends: { fate: TurnFate } = { fate: 'runs' }
  const opened = openStore(redis.address, { clock: systemClock, random: Math.random })
  const store: Store = {
    ...opened,
    async run(...call) {
      const { digest } = call[0]
      const spoilt = { [turn.digest]: turns, [end.digest]: ends }[digest]
      const fate = spoilt?.fate ?? 'runs'
      if (fate === 'next unsent' && spoilt !== undefined) spoilt.fate = 'runs'
      if (fate.endsWith('unsent')) throw new DependencyError('ledger', 'it was not sent')
      const reply = await opened.run(...call)
      if (fate === 'lost') throw new DependencyError('ledger', 'its answer is lost')
      return reply
    },
  }
  const parts = { store, clock: systemClock, timeoutMs: 5000, moments: 'given' as const }
  const ledger = createRedisLedger<string>(parts)
  const tuning = { warmMs: Infinity }
  return { ...createSlicedLedger({ ...parts, ledger, random: Math.random, tuning }), turns, ends }
}

export const atMs = Date.parse('2026-02-02T00:00:00Z')

const quotas = [
  quotaOf({ name: 'month', limit: 100_000, window: calendar('month'), slices: true }),
  quotaOf({
    name: 'parallel',
    unit: 'in_flight',
    limit: 1000,
    window: { kind: 'open' },
    slices: true,
  }),
]

/** One answer of a stream: all of them have its key. */
export function answerOf(stream: string, id: string) {
  const holds = quotas.map((quota) => holdOf(quota, quota.unit === 'tokens' ? 10 : 1))
  const context = `context of ${stream}`
  return { id, idempotencyKey: stream, holds, context, leaseMs: 60_000 }
}

/** Spent and reserved of each quota, as they stand in Redis: also what is in slices, of processes that are not closed. */
export async function figuresIn(
  ledger: Ledger<string>,
  nowMs = atMs,
): Promise<(readonly [number, number])[]> {
  const balances = await ledger.balances(answerOf('any', 'any').holds, nowMs)
  return balances.map(({ spent, reserved }) => [spent, reserved])
}

/** Of so many answers that are held, and so many that were settled to 5 tokens. */
export const standing = (held: number, settled = 0) => [
  [5 * settled, 10 * held],
  [0, held],
]
