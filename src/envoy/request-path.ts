import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import { KIB_BYTES } from '../units.js'

/** The longest `:path`, query included. */
export const maxPathBytes = 8 * KIB_BYTES

/**
 * What RFC 3986 §3.3 lets stand in a path as it is. `%` is not among them: no path that Tollgate knows needs an
 * escape, and where Envoy and an engine unescape differently (`%2f`, `%2e%2e`, `%2561`) a rule about the path
 * would not be a rule about what the engine serves.
 */
const pathForm = /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*$/

/** The query is passed on and never decided on; it still has to be printable, and a fragment has no place in it. */
const queryForm = /^[\x21\x22\x24-\x7e]*$/

/**
 * The path on which everything is decided: one normal form, without the query. Envoy normalises first (as
 * `envoy.yaml` tells it to); what is not in the normal form after that is ambiguous and refused, never repaired.
 *
 * @param target Envoy's `:path`, with its query; may be empty (CONNECT)
 * @returns the path, or `path_invalid`
 */
export function readPath(target: string): string | Denial {
  if (target.length > maxPathBytes) {
    return deny('path_invalid', `Send a path of at most ${String(maxPathBytes)} bytes.`)
  }
  const queryAt = target.indexOf('?')
  const path = queryAt === -1 ? target : target.slice(0, queryAt)
  const query = queryAt === -1 ? '' : target.slice(queryAt + 1)
  if (!pathForm.test(path) || !queryForm.test(query)) {
    return deny(
      'path_invalid',
      'Send an absolute path of plain characters, without escapes, and no fragment.',
    )
  }
  if (path.includes('//') || /\/\.\.?(?:\/|$)/.test(path)) {
    return deny('path_invalid', 'Send the path without empty or dot segments.')
  }
  return path
}
