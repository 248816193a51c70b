import type { Clock } from '../clock.js'
import { openStore } from '../store/store.js'
import type { Script, Store, StoreAddress } from '../store/store.js'
import type { Counters } from './counters.js'
import { createMemoryCounters, maxCountersIn } from './memory-counters.js'
import { withOverLimitCache } from './over-limit-cache.js'
import { splitPerSecond } from './per-second.js'
import { counterScripts, createRedisCounters } from './redis-counters.js'
import type { RedisCountersOptions } from './redis-counters.js'

/** Where a server of the service is. */
export interface CounterServer {
  readonly kind: 'redis'
  readonly address: StoreAddress
  readonly timeoutMs: number
}

export interface CounterSettings extends Pick<
  RedisCountersOptions,
  'mode' | 'stopWhenOver' | 'expirationJitterMaxSeconds' | 'moments'
> {
  readonly store: CounterServer | { readonly kind: 'memory' }
  /** For the limits per second, if not the same. */
  readonly perSecond: CounterServer | undefined
  readonly cacheKeyPrefix: string
  /** 0: what is over is not remembered. */
  readonly localCacheBytes: number
}

export interface CounterParts {
  readonly clock: Clock
  readonly random: () => number
  /** What the heap of this process may hold. */
  readonly heapBytes: number
  /** `reason` is safe to log. Told once per outage of a server. */
  readonly onUnavailable: (reason: string) => void
  readonly onAvailable: () => void
}

export interface OpenCounters {
  readonly counters: Counters
  /** Does every store answer, as far as is known? */
  readonly isAvailable: () => boolean
  /** Asks those that do not whether they do again: perhaps no call comes as long as this service is said to be away. */
  readonly askLost: () => void
}

/** The counters as a policy describes them. */
export function openCounters(settings: CounterSettings, parts: CounterParts): OpenCounters {
  const { store, perSecond, stopWhenOver, localCacheBytes, cacheKeyPrefix } = settings
  const { clock } = parts
  const stores: Watched[] = []

  function open(server: CounterServer | { readonly kind: 'memory' }): Counters {
    if (server.kind === 'memory') {
      const maxCounters = maxCountersIn(parts.heapBytes)
      return createMemoryCounters({ clock, stopWhenOver, maxCounters })
    }
    const watched = openWatched(server, counterScripts(settings.mode), parts)
    stores.push(watched)
    return createRedisCounters({
      ...settings,
      store: watched.store,
      isCluster: 'cluster' in server.address,
      clock,
      random: parts.random,
      keyPrefix: cacheKeyPrefix,
      timeoutMs: server.timeoutMs,
    })
  }

  const rest = open(store)
  const all =
    perSecond === undefined
      ? rest
      : splitPerSecond({ second: open(perSecond), rest, clock, stopWhenOver })
  return {
    counters:
      localCacheBytes === 0
        ? all
        : withOverLimitCache(all, { clock, stopWhenOver, maxBytes: localCacheBytes }),
    isAvailable: () => stores.every((watched) => watched.isAvailable()),
    askLost() {
      for (const { store } of stores) store.probe()
    },
  }
}

interface Watched {
  readonly store: Store
  readonly isAvailable: () => boolean
}

function openWatched(
  server: CounterServer,
  scripts: readonly Script[],
  parts: CounterParts,
): Watched {
  let isLost = false
  const store = openStore(server.address, {
    ...parts,
    scripts,
    onUnavailable: (reason) => {
      isLost = true
      parts.onUnavailable(reason)
    },
    onAvailable: () => {
      isLost = false
      parts.onAvailable()
    },
  })
  // Its time is known from the first connection on.
  return { store, isAvailable: () => !isLost && store.nowMs() !== undefined }
}
