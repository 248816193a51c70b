import type { Call, Reply } from './call.js'
import { openCluster } from './cluster.js'
import type { ClusterAddress } from './cluster.js'
import { refusedFault } from './faults.js'
import { placeFrom } from './place.js'
import type { Access, Place } from './place.js'
import type { Script } from './script.js'
import { createMasterFinder } from './sentinel.js'
import type { SentinelAddress } from './sentinel.js'
import { openServer } from './server.js'
import type { ServerParts } from './server.js'

export type { ClusterAddress } from './cluster.js'
export { isOfOneCall, OutOfMemoryError, ScriptError, UnansweredError } from './faults.js'
export { createScript } from './script.js'
export type { Script } from './script.js'
export type { SentinelAddress } from './sentinel.js'
export { inTime } from './server.js'
export type { Reply } from './call.js'
export { SLOTS, slotOf } from './slots.js'

/** Where the store is. */
export type StoreAddress = Access &
  (
    | {
        /** `redis://host:port/db`, `rediss://host:port/db` or `unix:///path`; without user and password. */
        readonly url: string
      }
    | { readonly sentinel: SentinelAddress }
    | { readonly cluster: ClusterAddress }
  )

/** One Redis, or a cluster of them: every call is one script, answered in time or failed. */
export interface Store {
  /**
   * Runs a script. `argsUntil` gets the moment, in Redis's time, before which it may take effect: a script that
   * comes to it then or later answers `late` and changes nothing, so no call takes effect after it has failed here.
   *
   * @param keys at least one, all of one slot where the store is a cluster
   * @param dueMonotonicMs when this call must be over
   * @param more `slot` that of the keys, where the caller has found it already: long ones take long to hash;
   *   `probe` how the call is asked again by `probe`
   * @throws UnansweredError it may have taken effect
   * @throws DependencyError nothing took effect
   */
  run(
    script: Script,
    keys: readonly string[],
    argsUntil: (untilMs: number) => readonly string[],
    dueMonotonicMs: number,
    more?: Pick<Call, 'slot' | 'probe'>,
  ): Promise<Reply>
  /**
   * Has each server that does not answer asked whether it does again, if it is time to, by a call that it failed and
   * that said how. Else it is asked with the next call alone.
   */
  probe(): void
  /**
   * What Redis's clock shows, as far as this process knows; undefined before the first connection.
   *
   * @param key in a cluster each node has a clock of its own: that of the node which has this key
   */
  nowMs(key?: string): number | undefined
  /**
   * For how long the node that has the key has answered nobody, while it owes an answer; 0 where it owes none. A call
   * that has failed since it was due is still owed one, as long as its connection lasts.
   */
  silentMs(key: string): number
  close(): void
}

export type StoreParts = Pick<
  ServerParts,
  'clock' | 'random' | 'scripts' | 'onUnavailable' | 'onAvailable'
>

export function openStore(address: StoreAddress, parts: StoreParts): Store {
  if ('cluster' in address) {
    const cluster = openCluster(address.cluster, address, parts)
    return {
      ...cluster,
      run: (script, keys, argsUntil, dueMonotonicMs, more) =>
        cluster.run({ script, keys, argsUntil, dueMonotonicMs, ...more }),
    }
  }
  const find = finderOf(address)
  const server = openServer({ ...parts, find, access: address, redirects: false })
  return {
    async run(script, keys, argsUntil, dueMonotonicMs, more) {
      const reply = await server.run({ script, keys, argsUntil, dueMonotonicMs, ...more }, false)
      if ('kind' in reply) throw refusedFault(`Redis answered ${reply.kind}`)
      return reply
    },
    probe() {
      server.probe()
    },
    nowMs: () => server.nowMs(),
    silentMs: () => server.silentMs(),
    close() {
      server.close()
    },
  }
}

function finderOf(
  address: Exclude<StoreAddress, { readonly cluster: unknown }>,
): () => Promise<Place> {
  if ('sentinel' in address) return createMasterFinder(address.sentinel, address.caFile)
  const place = placeFrom(address.url)
  return () => Promise.resolve(place)
}
