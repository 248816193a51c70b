import { Redis } from 'ioredis'
import type { Clock } from '../clock.js'
import { SECOND_MS } from '../units.js'
import { CONNECT_TIMEOUT_MS, clientOptions, withinTime } from './place.js'
import type { Access, Place } from './place.js'
import type { RedisClock } from './redis-clock.js'

/**
 * One connection, opened again whenever it is lost, with nothing carried over: no command waits for it, and none
 * is sent a second time.
 */
export interface Connection {
  /** The connection, if there is one that has answered. */
  client(): Redis | undefined
  /** Resolves when the first attempt is over, one way or the other. */
  readonly triedOnce: Promise<void>
  /** Gives up a connection on which nothing is answered, for a new one. */
  renew(): void
  close(): void
}

export interface ConnectionParts {
  /** Asked before each attempt; a rejection is a failed attempt. */
  readonly find: () => Promise<Place>
  readonly access: Access
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly redisClock: RedisClock
  /** 0 to 1, for the pauses between attempts. */
  readonly random: () => number
  /** `reason` is safe to log. */
  readonly onLost: (reason: string) => void
  readonly onConnected: (client: Redis) => void
}

const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2 * SECOND_MS

export function openConnection(parts: ConnectionParts): Connection {
  const { find, access, clock, redisClock, random, onLost, onConnected } = parts
  let current: Redis | undefined
  let attempts = 0
  let closed = false
  let timer: NodeJS.Timeout | undefined

  function tryLater(): void {
    if (closed) return
    const longestMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempts)
    attempts += 1
    timer = setTimeout(() => void attempt(), longestMs * (0.5 + random() / 2))
  }

  async function attempt(): Promise<void> {
    let client: Redis | undefined
    try {
      client = new Redis(clientOptions(await find(), access))
      // Every failure also reaches the caller of the command or of `connect`; unheard, it would end the process.
      client.on('error', () => undefined)
      await withinTime(CONNECT_TIMEOUT_MS, greet(client))
    } catch {
      client?.disconnect()
      onLost('no connection to Redis')
      tryLater()
      return
    }
    const opened = client
    if (closed) {
      opened.disconnect()
      return
    }
    opened.once('close', () => {
      if (current !== opened) return
      current = undefined
      onLost('the connection to Redis was lost')
      tryLater()
    })
    // It may have gone before anybody listened.
    if (opened.status !== 'ready') {
      onLost('the connection to Redis was lost')
      tryLater()
      return
    }
    current = opened
    attempts = 0
    onConnected(opened)
  }

  /** The first answer: proves that the connection is of use, and tells the time. */
  async function greet(client: Redis): Promise<void> {
    await client.connect()
    const sentMs = clock.monotonicMs()
    const [seconds, microseconds] = await client.time()
    const redisMs = Number(seconds) * SECOND_MS + Math.floor(Number(microseconds) / 1000)
    redisClock.learn(redisMs, sentMs, clock.monotonicMs())
  }

  return {
    client: () => current,
    triedOnce: attempt(),
    renew() {
      const given = current
      if (given === undefined) return
      current = undefined
      given.disconnect()
      tryLater()
    },
    close() {
      closed = true
      clearTimeout(timer)
      const given = current
      current = undefined
      given?.disconnect()
    },
  }
}
