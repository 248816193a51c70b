import type { Redis } from 'ioredis'
import type { Clock } from '../clock.js'
import { createBreaker } from './breaker.js'
import { openConnection } from './connection.js'
import { describeReply, errorCode, refusedFault, UnansweredError } from './faults.js'
import { placeFrom } from './place.js'
import type { Access, Place } from './place.js'
import { createRedisClock, redisNowMs } from './redis-clock.js'
import type { Script } from './script.js'
import { createMasterFinder } from './sentinel.js'
import type { SentinelAddress } from './sentinel.js'

export type { SentinelAddress } from './sentinel.js'
export { UnansweredError } from './faults.js'
export { createScript } from './script.js'
export type { Script } from './script.js'

/** What a script answers: a word, Redis's moment in milliseconds, and whatever else. */
export type Reply = readonly [kind: string, redisMs: number, ...rest: unknown[]]

/** Where the store is. */
export type StoreAddress = Access &
  (
    | {
        /** `redis://host:port/db`, `rediss://host:port/db` or `unix:///path`; without user and password. */
        readonly url: string
      }
    | { readonly sentinel: SentinelAddress }
  )

/** One Redis: every call is one script, answered in time or failed. */
export interface Store {
  /**
   * Runs a script. `argsUntil` gets the moment, in Redis's time, before which it may take effect: a script that
   * comes to it then or later answers `late` and changes nothing, so no call takes effect after it has failed here.
   *
   * @param dueMonotonicMs when this call must be over
   * @throws UnansweredError it may have taken effect
   * @throws DependencyError nothing took effect
   */
  run(
    script: Script,
    keys: readonly string[],
    argsUntil: (untilMs: number) => readonly string[],
    dueMonotonicMs: number,
  ): Promise<Reply>
  /** What Redis's clock shows, as far as this process knows; undefined before the first connection. */
  nowMs(): number | undefined
  close(): void
}

export interface StoreParts {
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly random: () => number
  /** `reason` is safe to log. Told once per outage. */
  readonly onUnavailable?: (reason: string) => void
  readonly onAvailable?: () => void
}

/** What the clocks may drift apart since the last answer: upkeep asks every second. */
const DRIFT_MARGIN_MS = 2

const FAULTS_TO_OPEN = 5
/** Between two probes of a store that does not answer. */
const PROBE_PAUSE_MS = 250

export function openStore(address: StoreAddress, parts: StoreParts): Store {
  const { clock, random, onUnavailable, onAvailable } = parts
  const redisClock = createRedisClock()
  let available = true

  function tell(now: boolean, reason = ''): void {
    if (now === available) return
    available = now
    if (now) onAvailable?.()
    else onUnavailable?.(reason)
  }

  const connection = openConnection({
    find: finderOf(address),
    access: address,
    clock,
    redisClock,
    random,
    onLost: (reason) => {
      tell(false, reason)
    },
    onConnected: () => {
      // A connection alone is not enough: with faults behind it, the next answer tells.
      if (!breaker.isOpen()) tell(true)
    },
  })
  const breaker = createBreaker({
    faultsToOpen: FAULTS_TO_OPEN,
    pauseMs: PROBE_PAUSE_MS,
    clock,
    onOpen: () => {
      tell(false, 'Redis does not answer as it should')
    },
    onClose: () => {
      tell(true)
    },
  })

  async function clientBy(dueMonotonicMs: number): Promise<Redis> {
    const client = connection.client()
    if (client !== undefined) return client
    // Only at the start there is something to wait for: afterwards an answer at once is worth more.
    await inTime(connection.triedOnce, dueMonotonicMs).catch(() => undefined)
    const late = connection.client()
    if (late === undefined) throw refusedFault('no connection to Redis')
    return late
  }

  async function inTime<T>(promise: Promise<T>, dueMonotonicMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined
      const giveUpWhenDue = (): void => {
        const leftMs = dueMonotonicMs - clock.monotonicMs()
        // A timer can fire early, and no call may be given up before its deadline in Redis has passed.
        if (leftMs > 0) timer = setTimeout(giveUpWhenDue, Math.ceil(leftMs))
        // Where the event loop was held up, the answer may lie there already: it is read before this runs.
        else setImmediate(reject, new UnansweredError('Redis did not answer in time'))
      }
      giveUpWhenDue()
      promise.then(resolve, reject).finally(() => {
        clearTimeout(timer)
      })
    })
  }

  async function send(
    command: 'EVALSHA' | 'EVAL',
    script: Script,
    keys: readonly string[],
    argsUntil: (untilMs: number) => readonly string[],
    dueMonotonicMs: number,
  ): Promise<Reply> {
    const client = await clientBy(dueMonotonicMs)
    const untilMs = redisClock.atMonotonic(dueMonotonicMs - DRIFT_MARGIN_MS)
    if (untilMs === undefined) throw refusedFault('the time of Redis is not known')
    const sentMs = clock.monotonicMs()
    const which = command === 'EVAL' ? script.text : script.digest
    let reply: Reply
    try {
      const answer = client.call(command, which, keys.length, ...keys, ...argsUntil(untilMs))
      reply = (await inTime(answer, dueMonotonicMs)) as Reply
    } catch (error) {
      if (error instanceof UnansweredError) throw error
      const code = errorCode(error)
      // Redis keeps scripts until it restarts, fails over, or is told to forget them. Nothing has run.
      if (code === 'NOSCRIPT' && command === 'EVALSHA') {
        return send('EVAL', script, keys, argsUntil, dueMonotonicMs)
      }
      // Another server has become the master, or will.
      if (code === 'READONLY') connection.renew()
      if (code !== undefined) throw refusedFault(describeReply(code, error))
      throw new UnansweredError('the connection to Redis was lost before the answer')
    }
    redisClock.learn(reply[1], sentMs, clock.monotonicMs())
    return reply
  }

  return {
    async run(script, keys, argsUntil, dueMonotonicMs) {
      const admitted = breaker.admit()
      if (admitted === undefined) throw refusedFault('Redis is not asked: it did not answer')
      try {
        let reply = await send('EVALSHA', script, keys, argsUntil, dueMonotonicMs)
        // Redis's clock was set forward: its moment is known now.
        if (reply[0] === 'late') {
          reply = await send('EVALSHA', script, keys, argsUntil, dueMonotonicMs)
        }
        if (reply[0] === 'late') throw refusedFault('Redis came to it too late')
        admitted.succeeded()
        return reply
      } catch (error) {
        admitted.failed()
        // A half-open connection never says so, and another may lead to a server that takes writes.
        if (breaker.isOpen()) connection.renew()
        throw error
      }
    },
    nowMs: () => redisNowMs(redisClock, clock),
    close() {
      connection.close()
    },
  }
}

function finderOf(address: StoreAddress): () => Promise<Place> {
  if ('sentinel' in address) return createMasterFinder(address.sentinel, address.caFile)
  const place = placeFrom(address.url)
  return () => Promise.resolve(place)
}
