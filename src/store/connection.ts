import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import type { Clock } from '../clock.js'
import { SECOND_MS } from '../units.js'
import type { RedisClock } from './redis-clock.js'

/** Where the store is. File paths are absolute. */
export interface StoreAddress {
  /** `redis://host:port/db`, `rediss://host:port/db` or `unix:///path`; without user and password. */
  readonly url: string
  /** Who may have issued the server's certificate, PEM; undefined: those that Node trusts. */
  readonly caFile: string | undefined
  readonly user: string | undefined
  /** Read anew at each connect, so that a password can be changed without a restart. */
  readonly passwordFile: string | undefined
}

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
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly redisClock: RedisClock
  /** 0 to 1, for the pauses between attempts. */
  readonly random: () => number
  /** `reason` is safe to log. */
  readonly onLost: (reason: string) => void
  readonly onConnected: () => void
}

/** Of a connect with TLS, authentication and first answer. */
const CONNECT_TIMEOUT_MS = SECOND_MS
const FIRST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 2 * SECOND_MS

export function openConnection(address: StoreAddress, parts: ConnectionParts): Connection {
  const { clock, redisClock, random, onLost, onConnected } = parts
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
      client = new Redis(optionsFor(address))
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
    onConnected()
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

function optionsFor(address: StoreAddress) {
  const { caFile, user, passwordFile } = address
  const url = new URL(address.url)
  return {
    ...placeOf(url),
    ...(url.protocol === 'rediss:'
      ? { tls: { ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }) } }
      : {}),
    ...(user === undefined ? {} : { username: user }),
    ...(passwordFile === undefined
      ? {}
      : { password: readFileSync(passwordFile, 'utf8').trimEnd() }),
    lazyConnect: true,
    protocol: 2 as const,
    disableClientInfo: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // A command that is sent twice charges twice, and one that waits is answered to nobody.
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    // Would ask INFO, which a user with few rights may not; `greet` asks something that it may.
    enableReadyCheck: false,
  }
}

function placeOf(url: URL): { path: string } | { host: string; port: number; db: number } {
  if (url.protocol === 'unix:') return { path: decodeURIComponent(url.pathname) }
  const port = url.port === '' ? 6379 : Number(url.port)
  // An IPv6 address stands in brackets in a URL, and without them elsewhere.
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return { host, port, db: Number(url.pathname.slice(1)) }
}

async function withinTime<T>(timeoutMs: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error('no answer in time'))
    }, timeoutMs)
  })
  try {
    return await Promise.race([promise, over])
  } finally {
    clearTimeout(timer)
  }
}
