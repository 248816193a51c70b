import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import type { Headers } from '../headers.js'
import { KIB_BYTES } from '../units.js'
import type { HttpRequest } from './wire.js'

/** Most header lines of one request, pseudo headers included. Envoy's own default is 100. */
export const maxHeaderLines = 256
/** Most bytes of all names and values together. Envoy's own default is 60 KiB. */
export const maxHeaderBytes = 64 * KIB_BYTES

/** What a request's headers came to. */
export interface ReadHeaders {
  readonly headers: Headers
  /** `:method` and `:path` by name; each at most once. */
  readonly pseudo: ReadonlyMap<string, string>
}

/** RFC 9110 §5.6.2. Held against the name as sent: lower case makes a `k` of the Kelvin sign. */
const nameForm = /^:?[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/

/** RFC 9113 §8.3.1, and `:protocol` (RFC 8441) is left out: Tollgate decides no upgrade. */
const pseudoNames = new Set([':method', ':path', ':authority', ':scheme'])

/** Headers that decide something: in them only visible ASCII, space and tab are believed. */
const decisive = new Set([
  'authorization',
  'x-api-key',
  'content-type',
  'content-encoding',
  'content-length',
  'transfer-encoding',
  'x-envoy-auth-partial-body',
])

/** A server that honours one of these runs another method than the one that was decided on. */
const methodOverrides = new Set(['x-http-method-override', 'x-http-method', 'x-method-override'])

/** WSGI makes `-` and `_` the same, and such a server takes the method from either spelling. */
function overridesMethod(name: string): boolean {
  return methodOverrides.has(name.includes('_') ? name.replaceAll('_', '-') : name)
}

/**
 * Reads the headers in either of Envoy's two shapes.
 *
 * `header_map` (`encode_raw_headers: true`) has one entry per line and the very bytes. `headers` has repeated lines
 * joined by a comma and `!` in place of bytes that are no UTF-8; there a decisive header with `!` or a comma is
 * refused, since what the client sent cannot be known.
 */
export function readHeaders(http: HttpRequest): ReadHeaders | Denial {
  const lines = http.headerMap?.headers ?? []
  const joined = Object.entries(http.headers ?? {})
  if (lines.length > 0 && joined.length > 0) {
    // Envoy fills one of the two. Where both are there, deciding on one could miss what the other says.
    return invalid('Headers came in two shapes that were not expected together.')
  }
  if (lines.length + joined.length > maxHeaderLines) {
    return invalid(`Send at most ${String(maxHeaderLines)} headers.`)
  }

  const collector = createCollector()
  for (const { key = '', value = '', rawValue } of lines) {
    if (rawValue !== undefined && value !== '' && !rawValue.equals(Buffer.from(value, 'utf8'))) {
      return invalid('A header came with two different values.')
    }
    // Latin-1 keeps every byte apart: whoever looks for bytes outside ASCII finds them.
    const fault = collector.add(key, rawValue === undefined ? value : rawValue.toString('latin1'))
    if (fault !== undefined) return fault
  }
  for (const [key, value] of joined) {
    if (decisive.has(key) && /[!,]/.test(value)) {
      return invalid('A header that decides came repeated or with bytes that are no UTF-8.')
    }
    const fault = collector.add(key, value)
    if (fault !== undefined) return fault
  }
  if ([...collector.headers.keys()].some(overridesMethod)) {
    return invalid('Leave out headers that override the method.')
  }
  return collector
}

function createCollector(): {
  readonly headers: Map<string, string[]>
  readonly pseudo: Map<string, string>
  add(key: string, value: string): Denial | undefined
} {
  const headers = new Map<string, string[]>()
  const pseudo = new Map<string, string>()
  let bytes = 0
  return {
    headers,
    pseudo,
    add(key, value) {
      bytes += key.length + value.length
      if (bytes > maxHeaderBytes)
        return invalid(`Send at most ${String(maxHeaderBytes)} bytes of headers.`)
      if (!nameForm.test(key)) return invalid('A header name is not a token.')
      const name = key.toLowerCase()
      // CR, LF and NUL end or cut a value somewhere on its way, so no two servers agree on it.
      if (/[\0\r\n]/.test(value)) return invalid('A header value has a line break or NUL in it.')
      if (name.startsWith(':')) {
        if (!pseudoNames.has(name)) return invalid('A pseudo header is not known.')
        if (pseudo.has(name)) return invalid('A pseudo header came twice.')
        pseudo.set(name, value)
        return undefined
      }
      if (decisive.has(name) && !/^[\t\x20-\x7e]*$/.test(value)) {
        return invalid('A header that decides has bytes outside ASCII in it.')
      }
      const values = headers.get(name)
      if (values === undefined) headers.set(name, [value])
      else values.push(value)
      return undefined
    },
  }
}

function invalid(message: string): Denial {
  return deny('headers_invalid', message)
}
