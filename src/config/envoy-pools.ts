import { entriesOf, field, fieldAt, isOfType, isThere, items, textOf } from './envoy-file.js'
import type { Place } from './envoy-file.js'

/** Clusters that routes by the pool header lead to. */
export function poolClustersOf(manager: Place, poolHeader: string): readonly string[] {
  return routesOf(manager).flatMap((route) =>
    poolOf(route, poolHeader) === undefined
      ? []
      : clustersOf(field(route, 'route')).flatMap((place) => textOf(place) ?? []),
  )
}

/**
 * Every cluster that leads to one of these, or is a part of one: an aggregate or a composite is made of others.
 *
 * @param clusters those of the file
 */
export function withAggregates(pools: Iterable<string>, clusters: Place): ReadonlySet<string> {
  const parts = new Map<string, string[]>()
  const wholes = new Map<string, string[]>()
  for (const cluster of items(clusters)) {
    const settings = fieldAt(cluster, 'cluster_type', 'typed_config')
    if (!isOfType(settings, 'ClusterConfig')) continue
    const whole = textOf(field(cluster, 'name')) ?? ''
    for (const place of items(field(settings, 'clusters'))) {
      // An aggregate lists names, a composite entries with a name.
      const part = textOf(place) ?? textOf(field(place, 'name')) ?? ''
      append(parts, whole, part)
      append(wholes, part, whole)
    }
  }
  return reached(reached(pools, parts), wholes)
}

function append(lists: Map<string, string[]>, key: string, value: string): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}

function reached(
  from: Iterable<string>,
  next: ReadonlyMap<string, readonly string[]>,
): ReadonlySet<string> {
  const found = new Set(from)
  // A set that grows while it is walked is walked to its end.
  for (const name of found) for (const other of next.get(name) ?? []) found.add(other)
  return found
}

/** Every route of a connection manager, in its order. */
export function routesOf(manager: Place): readonly Place[] {
  return items(fieldAt(manager, 'route_config', 'virtual_hosts')).flatMap((host) =>
    items(field(host, 'routes')),
  )
}

/** The pool of a route that matches `x-tollgate-pool: POOL` exactly and asks nothing else; undefined for any other. */
export function poolOf(route: Place, poolHeader: string): string | undefined {
  const match = field(route, 'match')
  const headers = items(field(match, 'headers'))
  const header = headers[0]
  if (header === undefined || headers.length !== 1) return undefined
  if (textOf(field(header, 'name'))?.toLowerCase() !== poolHeader) return undefined
  if (field(header, 'invert_match').value === true) return undefined
  const matcher = field(header, 'string_match')
  if (field(matcher, 'ignore_case').value === true) return undefined
  const conditions = entriesOf(match).map(([key]) => key)
  if (conditions.some((key) => key !== 'prefix' && key !== 'headers')) return undefined
  if (textOf(field(match, 'prefix')) !== '/') return undefined
  return textOf(field(matcher, 'exact')) ?? textOf(field(header, 'exact_match'))
}

/** Fields of an action that let the request, or code, name the cluster. */
export const choosers = [
  'cluster_header',
  'cluster_specifier_plugin',
  'inline_cluster_specifier_plugin',
]

/** The clusters that the action of a route, or the settings of a network filter, name. */
export function clustersOf(action: Place): readonly Place[] {
  return [
    field(action, 'cluster'),
    ...items(fieldAt(action, 'weighted_clusters', 'clusters')).map((part) => field(part, 'name')),
  ].filter(isThere)
}
