import type { ConfigFault } from '../errors.js'
import {
  entriesOf,
  field,
  fieldAt,
  findAll,
  isOfType,
  isThere,
  items,
  textOf,
} from './envoy-file.js'
import type { Place } from './envoy-file.js'
import { checkFilters, filterNames } from './envoy-filters.js'
import { clustersOf, poolClustersOf, routesOf, withAggregates } from './envoy-pools.js'
import { checkRoutes } from './envoy-routes.js'
import type { EnvoyTerms } from './envoy-terms.js'
import { checkUnguarded } from './envoy-unguarded.js'
import type { EnvoyCheck, EnvoyWire } from './envoy-wire.js'
import { boundFaults, shorten, wholeFileFault } from './faults.js'
import { readYaml } from './yaml-document.js'

/**
 * Compares Envoy's configuration with the policy: what either says alone and what leaves a way around Tollgate.
 * It reads a static file (clusters, listeners, routes); what comes over xDS it cannot see and says so.
 *
 * @returns every fault; none when the two agree
 * @throws ConfigError the file is not readable as YAML
 */
export function checkEnvoyFile(
  file: string,
  text: string,
  terms: EnvoyTerms,
  wire: EnvoyWire,
): readonly ConfigFault[] {
  const document = readYaml(file, text, { aliases: 'follow' })
  const faults: ConfigFault[] = []
  const check: EnvoyCheck = {
    terms,
    wire,
    fault: (place, expected, found) => {
      const fault = document.fault(place.at, expected)
      faults.push(found === undefined ? fault : { ...fault, value: shorten(found) })
    },
  }
  const root: Place = { at: [], value: document.value }
  const guarded = findAll(document, 'HttpConnectionManager').filter(
    (manager) => filterNames(manager, 'ExtAuthz').length > 0,
  )
  if (guarded.length === 0) {
    return [wholeFileFault(file, 'an HTTP connection manager with the ext_authz filter')]
  }
  const poolClusters = withAggregates(
    guarded.flatMap((manager) => poolClustersOf(manager, wire.poolHeader)),
    fieldAt(root, 'static_resources', 'clusters'),
  )
  for (const manager of guarded) {
    checkFilters(manager, check)
    checkRoutes(manager, poolClusters, check)
  }
  checkUnguarded(fieldAt(root, 'static_resources', 'listeners'), guarded, poolClusters, check)
  checkClusters(root, guarded, check)
  return boundFaults(file, faults)
}

/** Clusters that filters and routes name must be in the file, unless clusters also come from elsewhere. */
function checkClusters(root: Place, guarded: readonly Place[], check: EnvoyCheck): void {
  if (isThere(fieldAt(root, 'dynamic_resources', 'cds_config'))) return
  const clusters = new Map(
    items(fieldAt(root, 'static_resources', 'clusters')).map((cluster) => [
      textOf(field(cluster, 'name')) ?? '',
      cluster,
    ]),
  )
  const reported = new Set<string>()
  const find = (place: Place): Place | undefined => {
    const name = textOf(place)
    if (name === undefined) return undefined
    const cluster = clusters.get(name)
    if (cluster === undefined && !reported.has(name)) {
      reported.add(name)
      check.fault(place, `a cluster of this file: ${[...clusters.keys()].slice(0, 20).join(', ')}`)
    }
    return cluster
  }
  for (const manager of guarded) {
    for (const route of routesOf(manager)) clustersOf(field(route, 'route')).forEach(find)
    for (const filter of items(field(manager, 'http_filters'))) {
      const settings = field(filter, 'typed_config')
      const service = isOfType(settings, 'ExtAuthz')
        ? field(settings, 'grpc_service')
        : isOfType(settings, 'RateLimit')
          ? fieldAt(settings, 'rate_limit_service', 'grpc_service')
          : undefined
      if (service === undefined) continue
      const cluster = find(fieldAt(service, 'envoy_grpc', 'cluster_name'))
      if (cluster !== undefined && !speaksHttp2(cluster)) {
        check.fault(
          field(cluster, 'typed_extension_protocol_options'),
          'HttpProtocolOptions with explicit_http_config.http2_protocol_options: Tollgate speaks gRPC',
        )
      }
    }
  }
}

function speaksHttp2(cluster: Place): boolean {
  if (isThere(field(cluster, 'http2_protocol_options'))) return true
  return entriesOf(field(cluster, 'typed_extension_protocol_options')).some(
    ([, options]) =>
      isOfType(options, 'HttpProtocolOptions') &&
      isThere(fieldAt(options, 'explicit_http_config', 'http2_protocol_options')),
  )
}
