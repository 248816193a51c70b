import { readFileSync } from 'node:fs'
import { certificatesPem } from '../certificates.js'
import { SECOND_MS } from '../units.js'

/** How a server is entered. File paths are absolute. */
export interface Access {
  /** Who may have issued the server's certificate, PEM; undefined: those that Node trusts. */
  readonly caFile: string | undefined
  readonly user: string | undefined
  /** Read anew at each connect, so that a password can be changed without a restart. */
  readonly passwordFile: string | undefined
}

/** Where one server is. */
export type Place =
  | { readonly path: string }
  | {
      readonly host: string
      readonly port: number
      readonly database: number
      /** By TLS. */
      readonly secure: boolean
    }

/** Of a connect with TLS, authentication and first answer. */
export const CONNECT_TIMEOUT_MS = SECOND_MS

/** @param text `redis://host:port/db`, `rediss://host:port/db` or `unix:///path`; without user and password */
export function placeFrom(text: string): Place {
  const url = new URL(text)
  if (url.protocol === 'unix:') return { path: decodeURIComponent(url.pathname) }
  return {
    host: hostFrom(url.hostname),
    port: url.port === '' ? 6379 : Number(url.port),
    database: Number(url.pathname.slice(1)),
    secure: url.protocol === 'rediss:',
  }
}

/** What the client is made with. It connects once, when it is told to, and sends nothing a second time. */
export function clientOptions(place: Place, { caFile, user, passwordFile }: Access) {
  return {
    ...('path' in place
      ? { path: place.path }
      : { host: place.host, port: place.port, db: place.database }),
    ...('secure' in place && place.secure
      ? { tls: caFile === undefined ? {} : { ca: certificatesPem(readFileSync(caFile, 'utf8')) } }
      : {}),
    ...(user === undefined ? {} : { username: user }),
    ...(passwordFile === undefined
      ? {}
      : { password: readFileSync(passwordFile, 'utf8').trimEnd() }),
    lazyConnect: true,
    protocol: 2 as const,
    disableClientInfo: true,
    connectTimeout: CONNECT_TIMEOUT_MS,
    // A command that is sent twice charges twice: ioredis sends again only where it connects again.
    retryStrategy: null,
    // The same once more, without effect as long as it does not: what is unanswered fails before each new attempt.
    maxRetriesPerRequest: 0,
    // What comes while the connection closes fails at once, and not with the close a moment later.
    enableOfflineQueue: false,
    // Would ask INFO, which a user with few rights may not; the first question asks something that it may.
    enableReadyCheck: false,
  }
}

/** An IPv6 address stands in brackets in a URL, and without them elsewhere. */
function hostFrom(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1')
}

export async function withinTime<T>(timeoutMs: number, promise: Promise<T>): Promise<T> {
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
