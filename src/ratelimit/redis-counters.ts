import { readFileSync } from 'node:fs'
import type { Clock } from '../clock.js'
import { DependencyError } from '../errors.js'
import { createScript, slotOf } from '../store/store.js'
import type { Reply, Script, Store } from '../store/store.js'
import { resetMsAt, withoutHits } from './counters.js'
import type { Ask, Count, Counters, CountersOptions } from './counters.js'
import { counterKey, peerKey } from './keys.js'
import { countInParts } from './parts.js'
import { unitSeconds } from './rule.js'

export interface RedisCountersOptions extends CountersOptions {
  readonly store: Store
  readonly clock: Clock
  /** 0 to 1. */
  readonly random: () => number
  /**
   * `safe`: a counter of each descriptor's own, in the time of Redis. `shared`: under the keys of
   * envoyproxy/ratelimit, which can count beside it; in the time of this process, as there.
   */
  readonly mode: 'safe' | 'shared'
  /** The store is a cluster, on which keys of envoyproxy/ratelimit are in slots of their own. */
  readonly isCluster?: boolean
  /** Before every key. */
  readonly keyPrefix: string
  /** By less than so much the counters outlive the length of their unit, so that not all go at once. */
  readonly expirationJitterMaxSeconds: number
  /** How long a call may take, all in all. */
  readonly timeoutMs: number
  /** `given`: the moment comes with the call, from `clock`, and Redis's own counts only for its deadline. For tests. */
  readonly moments?: 'redis' | 'given'
}

const scripts: Readonly<Record<RedisCountersOptions['mode'], Script>> = {
  safe: read('count'),
  shared: read('shared'),
}

/** What counters in this mode ask a store for. */
export function counterScripts(mode: RedisCountersOptions['mode']): readonly Script[] {
  return [scripts[mode]]
}

function read(name: string): Script {
  return createScript(readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8'))
}

type CountedReply = readonly [
  kind: 'counted',
  redisMs: number,
  nowMs: number,
  ...beforeAndAfter: string[],
]

/** Of one call: its domain, the moment by the clock of this process, and when it must be over. */
interface Moment {
  readonly domain: string
  readonly nowEpochMs: number
  readonly dueMonotonicMs: number
}

/**
 * Counters that several processes share: one script for a call, whatever the number of its descriptors; under the
 * peer's keys in a cluster one for each of their slots.
 */
export function createRedisCounters(options: RedisCountersOptions): Counters {
  const { store, clock, random, mode, keyPrefix, timeoutMs, moments = 'redis' } = options
  const { stopWhenOver, isCluster = false } = options
  const stop = stopWhenOver ? '1' : '0'

  function keptSeconds({ limit }: Ask): number {
    const jitter = Math.floor(random() * options.expirationJitterMaxSeconds)
    return unitSeconds[limit.unit] + jitter
  }

  function keyOf({ domain, nowEpochMs }: Moment, ask: Ask): string {
    const key = mode === 'safe' ? counterKey(domain, ask) : peerKey(domain, ask, nowEpochMs)
    return keyPrefix + key
  }

  async function count(at: Moment, asks: readonly Ask[], slot?: number): Promise<readonly Count[]> {
    const { domain, nowEpochMs, dueMonotonicMs } = at
    const argsFor =
      (some: readonly Ask[]) =>
      (untilMs: number): readonly string[] => [
        String(untilMs),
        moments === 'given' ? String(nowEpochMs) : '',
        stop,
        ...some.flatMap((ask) => [
          String(unitSeconds[ask.limit.unit]),
          String(ask.limit.requestsPerUnit),
          (ask.isRefund ? '-' : '') + String(ask.hits),
          String(keptSeconds(ask)),
        ]),
      ]
    const nothing = (untilMs: number): readonly string[] => argsFor(asks.map(withoutHits))(untilMs)
    const reply = await run(
      store,
      scripts[mode],
      asks.map((ask) => keyOf(at, ask)),
      argsFor(asks),
      dueMonotonicMs,
      { slot, probe: { of: domain, timeoutMs, argsUntil: nothing } },
    )
    // What each script answers is told by `lua/` alone, and held by the contract of the counters.
    const [, , redisMs, ...amounts] = reply as unknown as CountedReply
    const countedMs = mode === 'safe' ? redisMs : nowEpochMs
    return asks.map(({ limit }, index) => ({
      before: Number(amounts[2 * index]),
      after: Number(amounts[2 * index + 1]),
      resetMs: resetMsAt(limit.unit, countedMs),
    }))
  }

  return {
    count(domain, asks, begunMonotonicMs = clock.monotonicMs()) {
      const dueMonotonicMs = begunMonotonicMs + timeoutMs
      // The window is in a key of the peer: one moment for all, or a slot would be that of another key.
      const at = { domain, nowEpochMs: clock.nowEpochMs(), dueMonotonicMs }
      if (!isCluster || mode === 'safe') return count(at, asks)
      return countInParts(asks, {
        parts: asks.map((ask) => slotOf(keyOf(at, ask))),
        count: (slot, some) => count(at, some, slot),
        stopWhenOver,
      })
    },
    close() {
      store.close()
    },
  }
}

/** @throws DependencyError under the name of the service: the store may be another one than the ledger's */
async function run(store: Store, ...call: Parameters<Store['run']>): Promise<Reply> {
  try {
    return await store.run(...call)
  } catch (error) {
    if (!(error instanceof DependencyError)) throw error
    throw new DependencyError('rate_limit_store', error.message, { cause: error })
  }
}
