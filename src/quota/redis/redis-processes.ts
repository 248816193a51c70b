import { readFileSync } from 'node:fs'
import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import { createScript } from '../../store/store.js'
import type { Reply, Script, Store } from '../../store/store.js'
import type { Processes } from '../failover/processes.js'
import { PROCESSES, SHARES } from './stored-keys.js'

export interface RedisProcessesOptions {
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly timeoutMs: number
  /** Random, and the same as long as the process lives. */
  readonly processId: string
  /** The moment that counts instead of Redis's own; in tests alone. Deadlines are always in Redis's time. */
  readonly momentMs?: () => number
}

type SeenReply = readonly [
  kind: 'seen',
  redisMs: number,
  processes: number,
  claims: string,
  version: number,
  bornMs: number,
  table: string,
]

export function loadProcessesScript(): Script {
  return createScript(readFileSync(new URL('./lua/processes.lua', import.meta.url), 'utf8'))
}

/** The processes of one Redis, and what each of them claims (`lua/processes.lua`). */
export function createRedisProcesses(options: RedisProcessesOptions): Processes {
  const { store, clock, timeoutMs, processId, momentMs } = options
  const script = loadProcessesScript()
  return {
    async census(said) {
      const text = JSON.stringify({ ...said, momentMs: momentMs?.() })
      const reply = await store.run(
        script,
        [PROCESSES, SHARES],
        (untilMs) => [String(untilMs), processId, text],
        clock.monotonicMs() + timeoutMs,
      )
      if (!isSeen(reply)) throw new DependencyError('ledger', `the script answered ${reply[0]}`)
      const [, atMs, processes, claims, version, bornMs, table] = reply
      return {
        atMs,
        processes,
        claims: JSON.parse(claims) as readonly number[],
        bornMs,
        version,
        table: table === '' ? undefined : table,
      }
    },
  }
}

function isSeen(reply: Reply): reply is SeenReply {
  return reply[0] === 'seen'
}
