import { entry, field, fieldAt, isOfType, isThere, items, numberOf, textOf } from './envoy-file.js'
import type { Place } from './envoy-file.js'
import { checkBodySettings } from './envoy-filters.js'
import { reportFormats } from './envoy-report.js'
import type { EnvoyCheck } from './envoy-wire.js'
import { given } from './partly.js'

/** Filter names by what they do: per-route settings go by the name that the file gives the filter. */
export interface FilterNames {
  readonly authz: readonly string[]
  readonly report: readonly string[]
  /** Of those that put in the cap, ask for usage and read it. */
  readonly metering: readonly string[]
  readonly cors: readonly string[]
}

/** What stands at a level for the filter of this name, and the settings, of which a `FilterConfig` is but a wrapper. */
function perFilter(
  level: Place,
  name: string,
): { readonly written: Place; readonly settings: Place } {
  const written = entry(field(level, 'typed_per_filter_config'), name)
  const settings = isOfType(written, 'FilterConfig') ? field(written, 'config') : written
  return { written, settings }
}

function settingsOf(level: Place, name: string): Place {
  return perFilter(level, name).settings
}

/** What a virtual host says for all its routes: the body cap, encodings, browsers' origins. */
export function checkHost(
  config: Place,
  host: Place,
  filters: FilterNames,
  check: EnvoyCheck,
): void {
  given([check.terms.maxBodyBytes], (maxBodyBytes) => {
    const limit = field(host, 'request_body_buffer_limit')
    if (numberOf(limit) === maxBodyBytes) return
    check.fault(
      limit,
      `${String(maxBodyBytes)}, the policy's limits.maxBodyBytes (without it, Envoy buffers 1 MiB)`,
    )
  })
  const removed = [host, config].flatMap((level) =>
    items(field(level, 'request_headers_to_remove')).map((name) => textOf(name)?.toLowerCase()),
  )
  if (!removed.includes('accept-encoding')) {
    check.fault(
      field(host, 'request_headers_to_remove'),
      'accept-encoding in it: usage cannot be read out of a compressed answer',
    )
  }
  given([check.terms.corsOrigins], (origins) => {
    checkOrigins(config, host, filters, origins, check)
  })
}

function checkOrigins(
  config: Place,
  host: Place,
  filters: FilterNames,
  wanted: readonly string[],
  check: EnvoyCheck,
): void {
  const policy = [host, config]
    .flatMap((level) => corsPoliciesOf(level, filters))
    .find((candidate) => isThere(candidate))
  if (policy !== undefined) {
    compareOrigins(policy, wanted, check)
  } else if (wanted.length > 0) {
    check.fault(
      field(host, 'typed_per_filter_config'),
      `a CorsPolicy that allows exactly the policy's cors.origins: ${wanted.join(', ')}`,
    )
  }
}

/** What a level says of origins: for the cors filter, or in the older field `cors`, which it reads without the other. */
function corsPoliciesOf(level: Place, filters: FilterNames): readonly Place[] {
  return [...filters.cors.map((name) => settingsOf(level, name)), field(level, 'cors')]
}

function compareOrigins(policy: Place, wanted: readonly string[], check: EnvoyCheck): void {
  const matchers = field(policy, 'allow_origin_string_match')
  const allowed = items(matchers).map(
    (matcher) => textOf(field(matcher, 'exact')) ?? '(a matcher that is not exact)',
  )
  const same =
    allowed.every((origin) => wanted.includes(origin)) &&
    wanted.every((origin) => allowed.includes(origin))
  if (!same) {
    check.fault(
      matchers,
      wanted.length === 0
        ? 'none, since the policy has no cors.origins'
        : `exactly the policy's cors.origins: ${wanted.join(', ')}`,
      allowed.length === 0 ? undefined : allowed.join(', '),
    )
  }
}

/** The per-filter settings in force on a route: the report whole, nothing switched off. */
export function checkPerFilter(
  route: Place,
  levels: readonly Place[],
  filters: FilterNames,
  check: EnvoyCheck,
): void {
  const parts = items(fieldAt(route, 'route', 'weighted_clusters', 'clusters'))
  for (const level of [route, ...parts]) checkSwitches(level, filters, check)
  given([check.terms.corsOrigins], (origins) => {
    for (const level of [route, field(route, 'route'), ...parts]) {
      for (const policy of corsPoliciesOf(level, filters)) {
        // One that says nothing of origins leaves them to the virtual host.
        if (isThere(field(policy, 'allow_origin_string_match'))) {
          compareOrigins(policy, origins, check)
        }
      }
    }
  })
  for (const name of filters.report) {
    const candidates = levels.map((level) => settingsOf(level, name))
    const settings = candidates.find(isThere)
    const missing = check.wire.reportNames.filter(
      (report) => settings === undefined || limitsOf(settings, report).length === 0,
    )
    if (missing.length === check.wire.reportNames.length) {
      check.fault(
        settings ?? candidates[1] ?? route,
        `a RateLimitPerRoute with the report (${missing.join(', ')}): nothing else ends a reservation`,
      )
    } else if (missing.length > 0 && settings !== undefined) {
      check.fault(
        field(settings, 'rate_limits'),
        `a descriptor with apply_on_stream_done for ${missing.join(', ')}`,
      )
    }
    if (settings !== undefined) checkFormats(settings, check)
  }
}

/** A figure under another's name would be settled, or taught to the estimates, without a word. */
function checkFormats(settings: Place, check: EnvoyCheck): void {
  for (const report of check.wire.reportNames) {
    const wanted = reportFormats.get(report)
    for (const limit of limitsOf(settings, report)) {
      const format = fieldAt(limit, 'hits_addend', 'format')
      if (wanted !== undefined && textOf(format) !== wanted) {
        check.fault(format, `${wanted}, which is what ${report} means`)
      }
    }
  }
}

/** What sends the figure of this name, with the reservation, at the end of the stream. */
function limitsOf(settings: Place, report: string): readonly Place[] {
  return items(field(settings, 'rate_limits')).filter((limit) => {
    const actions = items(field(limit, 'actions'))
    return (
      field(limit, 'apply_on_stream_done').value === true &&
      isThere(fieldAt(limit, 'hits_addend', 'format')) &&
      actions.some(
        (action) => textOf(fieldAt(action, 'metadata', 'descriptor_key')) === 'reservation',
      ) &&
      actions.some(
        (action) =>
          textOf(fieldAt(action, 'generic_key', 'descriptor_key')) === 'report' &&
          textOf(fieldAt(action, 'generic_key', 'descriptor_value')) === report,
      )
    )
  })
}

/**
 * A route that takes no POST: what comes over it has no body that Tollgate would read, so Check may see just enough
 * of one to refuse it.
 */
function neverPost(route: Place): boolean {
  return items(fieldAt(route, 'match', 'headers')).some(
    (header) =>
      textOf(field(header, 'name')) === ':method' &&
      textOf(fieldAt(header, 'string_match', 'exact')) === 'POST' &&
      field(header, 'invert_match').value === true,
  )
}

/** Settings for one filter that switch it off or point it elsewhere. */
export function checkSwitches(level: Place, filters: FilterNames, check: EnvoyCheck): void {
  for (const name of [...filters.authz, ...filters.report, ...filters.metering]) {
    const { written, settings } = perFilter(level, name)
    for (const place of new Set([written, settings])) {
      const off = field(place, 'disabled')
      if (off.value !== true) continue
      check.fault(off, 'to be left out: every request is checked, and every stream reports its end')
    }
    const ownDomain = field(settings, 'domain')
    if (isThere(ownDomain) && textOf(ownDomain) !== check.wire.reportDomain) {
      check.fault(ownDomain, check.wire.reportDomain)
    }
    for (const service of ['grpc_service', 'http_service']) {
      const own = fieldAt(settings, 'check_settings', service)
      if (isThere(own)) check.fault(own, 'to be left out: Tollgate alone is asked')
    }
    const ownBody = fieldAt(settings, 'check_settings', 'with_request_body')
    if (isOfType(settings, 'ExtAuthzPerRoute') && isThere(ownBody) && !neverPost(level)) {
      checkBodySettings(ownBody, check)
    }
  }
}
