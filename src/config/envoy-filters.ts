import {
  durationMsOf,
  entry,
  field,
  fieldAt,
  isOfType,
  isThere,
  items,
  numberOf,
  textOf,
} from './envoy-file.js'
import type { Place } from './envoy-file.js'
import type { EnvoyCheck } from './envoy-wire.js'
import { given, wrong } from './partly.js'

/** Filters of this type in their order: the name that per-route settings use, and the settings. */
export function filterNames(
  manager: Place,
  type: string,
): readonly { readonly filter: Place; readonly name: string; readonly settings: Place }[] {
  return items(field(manager, 'http_filters')).flatMap((filter) => {
    const settings = field(filter, 'typed_config')
    if (!isOfType(settings, type)) return []
    return [{ filter, name: textOf(field(filter, 'name')) ?? '', settings }]
  })
}

/**
 * Filters that put in the cap, ask for usage and read it: off, an answer is as long as it likes, or is charged by
 * estimate. A matcher may stand around them; around ext_authz or the report it would be a way around.
 */
export function meteringFilters(
  manager: Place,
): readonly { readonly filter: Place; readonly name: string }[] {
  return items(field(manager, 'http_filters')).flatMap((filter) => {
    const settings = field(filter, 'typed_config')
    const inner = isOfType(settings, 'ExtensionWithMatcher')
      ? fieldAt(settings, 'extension_config', 'typed_config')
      : settings
    const isOne = ['TransformConfig', 'SseToMetadata', 'JsonToMetadata'].some((type) =>
      isOfType(inner, type),
    )
    return isOne ? [{ filter, name: textOf(field(filter, 'name')) ?? '' }] : []
  })
}

/** The filters of a connection manager that talk to Tollgate, and what must stand before them. */
export function checkFilters(manager: Place, check: EnvoyCheck): void {
  checkEarlyRemoval(manager, check)
  for (const { filter, settings } of filterNames(manager, 'ExtAuthz')) {
    refuseOff(filter, check)
    checkExtAuthz(settings, check)
  }
  checkReportFilter(manager, check)
  for (const { filter } of meteringFilters(manager)) refuseOff(filter, check)
  checkCorsFilter(manager, check)
}

/** Filters that can be switched off or skipped are a way around the decision, or around its meter. */
function refuseOff(filter: Place, check: EnvoyCheck): void {
  for (const name of ['disabled', 'is_optional']) {
    const place = field(filter, name)
    if (place.value === true) check.fault(place, 'false: no request goes around Tollgate')
  }
}

function checkExtAuthz(settings: Place, check: EnvoyCheck): void {
  const expect = (name: string, value: boolean, why: string): void => {
    const place = field(settings, name)
    if ((place.value ?? false) !== value) check.fault(place, `${String(value)}: ${why}`)
  }
  expect('failure_mode_allow', false, 'when Tollgate cannot answer, nothing passes')
  expect('encode_raw_headers', true, 'Tollgate must see a header that was sent twice')
  expect('clear_route_cache', true, 'the route is chosen again by the pool that Tollgate names')
  expect('shadow_mode', false, 'a refusal must end the request')
  if (field(settings, 'enable_dynamic_metadata_ingestion').value === false) {
    check.fault(
      field(settings, 'enable_dynamic_metadata_ingestion'),
      'true: the report needs the reservation that Check names',
    )
  }
  for (const name of ['filter_enabled', 'filter_enabled_metadata']) {
    const place = field(settings, name)
    if (isThere(place)) check.fault(place, 'to be left out: every request is checked')
  }
  const status = fieldAt(settings, 'status_on_error', 'code')
  if (status.value !== 'ServiceUnavailable' && numberOf(status) !== 503) {
    check.fault(status, 'ServiceUnavailable: clients retry a 503, not the 403 of the default')
  }
  checkBodySettings(field(settings, 'with_request_body'), check)

  const service = field(settings, 'grpc_service')
  const cluster = fieldAt(service, 'envoy_grpc', 'cluster_name')
  if (textOf(cluster) === undefined) check.fault(cluster, 'the cluster of Tollgate')
  const timeout = field(service, 'timeout')
  given([check.terms.examinationTimeoutMs], (examinationTimeoutMs) => {
    if ((durationMsOf(timeout) ?? 0) >= examinationTimeoutMs) return
    check.fault(
      timeout,
      `at least ${String(examinationTimeoutMs / 1000)}s, the policy's limits.examinationTimeoutMs (without it, Envoy waits 200 ms)`,
    )
  })
}

/** `with_request_body`, of the filter or of one route. */
export function checkBodySettings(body: Place, check: EnvoyCheck): void {
  given([check.terms.maxBodyBytes], (maxBodyBytes) => {
    const cap = field(body, 'max_request_bytes')
    if (numberOf(cap) !== maxBodyBytes) {
      check.fault(cap, `${String(maxBodyBytes)}, the policy's limits.maxBodyBytes`)
    }
  })
  const partial = field(body, 'allow_partial_message')
  if ((partial.value ?? false) !== false) {
    check.fault(partial, 'false: what Tollgate did not see must not pass')
  }
  const packed = field(body, 'pack_as_bytes')
  if (packed.value !== true) {
    check.fault(packed, 'true: as text, bytes that are not UTF-8 would be replaced')
  }
}

function checkReportFilter(manager: Place, check: EnvoyCheck): void {
  const { reportDomain } = check.wire
  const filters = filterNames(manager, 'RateLimit')
  const reporting = filters.filter(
    ({ settings }) => textOf(field(settings, 'domain')) === reportDomain,
  )
  if (reporting.length !== 1) {
    check.fault(
      filters[0] === undefined
        ? field(manager, 'http_filters')
        : field(filters[0].settings, 'domain'),
      `exactly one rate limit filter with the domain ${reportDomain}: it sends the report that ends a reservation`,
    )
  }
  for (const { filter, settings } of reporting) {
    refuseOff(filter, check)
    const name = textOf(field(filter, 'name'))
    for (const other of filters) {
      if (other.filter === filter || textOf(field(other.filter, 'name')) !== name) continue
      // Envoy looks up the configuration of a route by the name of the filter.
      check.fault(
        field(other.filter, 'name'),
        `a name of its own: what routes say under ${name ?? ''} is the report's, and would replace the rate_limits of this one`,
      )
    }
    const cluster = fieldAt(
      settings,
      'rate_limit_service',
      'grpc_service',
      'envoy_grpc',
      'cluster_name',
    )
    const own = filterNames(manager, 'ExtAuthz')[0]
    const wanted =
      own && textOf(fieldAt(own.settings, 'grpc_service', 'envoy_grpc', 'cluster_name'))
    if (wanted !== undefined && textOf(cluster) !== wanted) {
      check.fault(cluster, `${wanted}, the cluster that ext_authz asks: it holds the reservation`)
    }
  }
}

/** Browsers ask first (preflight), without a credential: the cors filter has to answer before Check refuses. */
function checkCorsFilter(manager: Place, check: EnvoyCheck): void {
  const { corsOrigins } = check.terms
  if (corsOrigins === wrong || corsOrigins.length === 0) return
  const filters = items(field(manager, 'http_filters'))
  const indexOf = (type: string): number =>
    filters.findIndex((filter) => isOfType(field(filter, 'typed_config'), type))
  const cors = indexOf('Cors')
  if (cors === -1 || cors > indexOf('ExtAuthz')) {
    check.fault(
      field(manager, 'http_filters'),
      'the cors filter before ext_authz, since the policy has cors.origins',
    )
  }
}

/** A client's own must be gone before the first route match and before Check, so that it chooses no route either. */
function checkEarlyRemoval(manager: Place, check: EnvoyCheck): void {
  const extensions = field(manager, 'early_header_mutation_extensions')
  const removed = new Set(
    items(extensions).flatMap((extension) =>
      items(fieldAt(extension, 'typed_config', 'mutations')).map((mutation) =>
        textOf(entry(mutation, 'remove'))?.toLowerCase(),
      ),
    ),
  )
  const missing = check.wire.reservedHeaders.filter((header) => !removed.has(header))
  if (missing.length > 0) {
    check.fault(extensions, `a header mutation that removes ${missing.join(', ')}`)
  }
}
