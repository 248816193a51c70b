import { entriesOf, field, isOfType, isThere, items, textOf } from './envoy-file.js'
import type { Place } from './envoy-file.js'
import { choosers, clustersOf } from './envoy-pools.js'
import type { EnvoyCheck } from './envoy-wire.js'

const since = 'since no ext_authz filter stands before it'

/**
 * What stands in a listener beside the guarded connection managers (health, metrics, plain TCP) must not lead to a pool.
 * Network filters are many and their settings differ, but what leads to a cluster is called `cluster` in all of them,
 * or `weighted_clusters`; so the whole listener is looked through.
 */
export function checkUnguarded(
  listeners: Place,
  guarded: readonly Place[],
  poolClusters: ReadonlySet<string>,
  check: EnvoyCheck,
): void {
  const skipped = new Set(guarded.map(({ value }) => value))
  function look(place: Place): void {
    if (skipped.has(place.value)) return
    for (const cluster of clustersOf(place)) {
      if (poolClusters.has(textOf(cluster) ?? '')) check.fault(cluster, `no GPU pool, ${since}`)
    }
    for (const name of choosers) {
      const chooser = field(place, name)
      if (isThere(chooser)) check.fault(chooser, `a cluster by its name, ${since}`)
    }
    // It makes the name of a TLS handshake the cluster of the filter behind it.
    if (isOfType(place, 'SniCluster')) {
      check.fault(place, `to be left out: a cluster by its name, ${since}`)
    }
    items(place).forEach(look)
    for (const [, inner] of entriesOf(place)) look(inner)
  }
  look(listeners)
}
