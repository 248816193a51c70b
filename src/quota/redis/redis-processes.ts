import { readFileSync } from 'node:fs'
import type { Clock } from '../../clock.js'
import { DependencyError } from '../../errors.js'
import { createScript } from '../../store/store.js'
import type { Reply, Store } from '../../store/store.js'
import type { Processes, Said } from '../failover/processes.js'
import { LAST_LOCAL, PROCESSES, PROCESSES_TOLD } from './stored-keys.js'

export interface RedisProcessesOptions {
  readonly store: Store
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly timeoutMs: number
  /** Random, and the same as long as the process lives. */
  readonly processId: string
}

type SeenReply = readonly [
  kind: 'seen',
  redisMs: number,
  processes: number,
  joined: 0 | 1,
  allToldMs: number,
  lastLocalMs: number,
  countedMs: number,
]

/** The processes of one Redis: a sorted set of when each was last seen (`lua/processes.lua`). */
export function createRedisProcesses(options: RedisProcessesOptions): Processes {
  const { store, clock, timeoutMs, processId } = options
  const script = createScript(readFileSync(new URL('./lua/processes.lua', import.meta.url), 'utf8'))
  return {
    async census({ toldMs = 0, local }) {
      const said = [String(toldMs), ...(local === undefined ? ['', ''] : localArgs(local))]
      const reply = await store.run(
        script,
        [PROCESSES, PROCESSES_TOLD, LAST_LOCAL],
        (untilMs) => [String(untilMs), processId, ...said],
        clock.monotonicMs() + timeoutMs,
      )
      if (!isSeen(reply)) throw new DependencyError('ledger', `the script answered ${reply[0]}`)
      const [, atMs, processes, joined, allToldMs, lastLocalMs, countedMs] = reply
      const lastLocal = lastLocalMs === 0 ? undefined : { atMs: lastLocalMs, countedMs }
      return { atMs, processes, joined: joined === 1, allToldMs, lastLocal }
    },
  }
}

function localArgs({ agoMs, countedMs }: NonNullable<Said['local']>): readonly string[] {
  return [String(Math.max(0, Math.round(agoMs))), String(countedMs)]
}

function isSeen(reply: Reply): reply is SeenReply {
  return reply[0] === 'seen'
}
