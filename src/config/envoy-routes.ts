import { durationMsOf, entriesOf, field, fieldAt, isThere, items, textOf } from './envoy-file.js'
import type { Place } from './envoy-file.js'
import { filterNames, meteringFilters } from './envoy-filters.js'
import { checkHost, checkPerFilter, checkSwitches } from './envoy-hosts.js'
import { choosers, clustersOf, poolOf } from './envoy-pools.js'
import type { EnvoyCheck } from './envoy-wire.js'
import { given } from './partly.js'

/** The routes of a guarded connection manager. */
export function checkRoutes(
  manager: Place,
  poolClusters: ReadonlySet<string>,
  check: EnvoyCheck,
): void {
  const config = field(manager, 'route_config')
  const hosts = items(field(config, 'virtual_hosts'))
  if (hosts.length === 0) {
    check.fault(config, 'the routes in this file: what comes over RDS cannot be checked')
    return
  }
  const filters = {
    authz: filterNames(manager, 'ExtAuthz').map(({ name }) => name),
    report: filterNames(manager, 'RateLimit')
      .filter(({ settings }) => textOf(field(settings, 'domain')) === check.wire.reportDomain)
      .map(({ name }) => name),
    metering: meteringFilters(manager).map(({ name }) => name),
    cors: filterNames(manager, 'Cors').map(({ name }) => name),
  }
  for (const host of hosts) {
    checkHost(config, host, filters, check)
    const routes = items(field(host, 'routes'))
    checkOrder(host, routes, check)
    for (const route of routes) {
      const levels = [route, host, config]
      checkPerFilter(route, levels, filters, check)
      checkTarget(route, levels, poolClusters, check)
    }
    checkSwitches(host, filters, check)
    refuseResending(host, check)
  }
  checkSwitches(config, filters, check)
  refuseResending(config, check)
  const routed = new Set(
    hosts.flatMap((host) =>
      items(field(host, 'routes')).map((route) => poolOf(route, check.wire.poolHeader)),
    ),
  )
  for (const pool of check.terms.pools) {
    if (!routed.has(pool)) {
      check.fault(
        field(hosts[0] ?? config, 'routes'),
        `a route for the pool ${pool} of the policy: prefix / and ${check.wire.poolHeader} exactly ${pool}`,
      )
    }
  }
}

/**
 * Pools first: Check removes the credential, so that afterwards every admitted request looks anonymous. Last a
 * route that takes everything: a request without a route is answered by Envoy without asking Tollgate.
 */
function checkOrder(host: Place, routes: readonly Place[], check: EnvoyCheck): void {
  const { poolHeader } = check.wire
  const firstOther = routes.findIndex((route) => poolOf(route, poolHeader) === undefined)
  routes.forEach((route, index) => {
    if (firstOther !== -1 && index > firstOther && poolOf(route, poolHeader) !== undefined) {
      check.fault(
        route,
        `to stand before every route that is not for a pool, so before routes[${String(firstOther)}]`,
      )
    }
  })
  const last = routes.at(-1)
  const match = last && field(last, 'match')
  const takesAll =
    match !== undefined && entriesOf(match).length === 1 && textOf(field(match, 'prefix')) === '/'
  if (!takesAll) {
    check.fault(
      last ?? field(host, 'routes'),
      'a last route with the match { prefix: / } alone: without a route, Envoy does not ask Tollgate',
    )
  }
}

function checkTarget(
  route: Place,
  levels: readonly Place[],
  poolClusters: ReadonlySet<string>,
  check: EnvoyCheck,
): void {
  const action = field(route, 'route')
  for (const name of ['direct_response', 'redirect', 'filter_action']) {
    const place = field(route, name)
    if (isThere(place)) {
      check.fault(
        place,
        'a route to a cluster, if need be one without endpoints: this one would send no report',
      )
    }
  }
  const parts = [action, ...items(fieldAt(action, 'weighted_clusters', 'clusters'))]
  for (const part of parts) {
    for (const name of choosers) {
      const place = field(part, name)
      if (isThere(place)) check.fault(place, 'cluster: only Tollgate chooses where a request goes')
    }
  }
  refuseResending(action, check)
  if (poolOf(route, check.wire.poolHeader) !== undefined) {
    checkPoolRoute(action, levels, check)
    return
  }
  for (const cluster of clustersOf(action)) {
    if (poolClusters.has(textOf(cluster) ?? '')) {
      check.fault(
        cluster,
        `no GPU pool: a route to one matches ${check.wire.poolHeader} exactly, prefix / and nothing else`,
      )
    }
  }
}

const safeRetries = ['connect-failure', 'refused-stream']

function checkPoolRoute(action: Place, levels: readonly Place[], check: EnvoyCheck): void {
  const timeout = field(action, 'timeout')
  if (durationMsOf(timeout) !== 0) {
    check.fault(timeout, '0s: a long answer is no failure (without it, Envoy ends it after 15 s)')
  }
  const silence = field(action, 'idle_timeout')
  if (durationMsOf(silence) === undefined) {
    check.fault(
      silence,
      'how long a model may be silent, as 600s (without it, stream_idle_timeout cuts a model that thinks)',
    )
  }
  given([check.terms.maxStreamMs], (maxStreamMs) => {
    const duration = fieldAt(action, 'max_stream_duration', 'max_stream_duration')
    const durationMs = durationMsOf(duration)
    if (durationMs !== undefined && durationMs !== 0 && durationMs <= maxStreamMs) return
    check.fault(
      duration,
      `at most ${String(maxStreamMs / 1000)}s, the policy's maxStreamMs: a lease must not end before its stream`,
    )
  })
  const effective = (name: string): Place | undefined =>
    [action, ...levels.slice(1)].map((level) => field(level, name)).find(isThere)
  const retries = effective('retry_policy')
  const conditions = retries && field(retries, 'retry_on')
  const unsafe =
    (conditions &&
      textOf(conditions)
        ?.split(',')
        .map((word) => word.trim())) ??
    []
  if (conditions !== undefined && unsafe.some((word) => !safeRetries.includes(word))) {
    check.fault(
      conditions,
      `only ${safeRetries.join(' and ')}: after anything else an engine may have generated already`,
    )
  }
  const hedging = effective('hedge_policy')
  if (hedging !== undefined) {
    check.fault(hedging, 'to be left out: the same request would be generated twice')
  }
}

/** What sends a request once more, of the action of a route or of what stands above it. */
function refuseResending(level: Place, check: EnvoyCheck): void {
  for (const name of ['request_mirror_policies', 'internal_redirect_policy']) {
    const place = field(level, name)
    if (isThere(place)) {
      check.fault(place, 'to be left out: what it sends is neither checked nor metered')
    }
  }
}
