import { toMicros } from '../money.js'
import type { ClaimValue } from './principal.js'
import { isArray, isObject, member } from './strict-json.js'
import type { JsonObject, JsonValue } from './strict-json.js'

/** What stands where a claim of the right type should: the whole credential is then refused. */
export const wrongType: unique symbol = Symbol('wrong type')
export type WrongType = typeof wrongType

/** OpenID Connect Core §2 bounds `sub` to 255 characters; the same bound serves every name of a caller. */
const maxNameLength = 255
/** Bounds what grants compare; a credential of 8 KiB can hold some 4,000 one-letter names. */
const maxListLength = 256
/** The last second of the year 9999: any later one is a mistake or an attack, and all are exact in milliseconds. */
const maxEpochSeconds = 253_402_300_799

/**
 * A name that is one name to every reader: no control, format (zero-width, bidi), line-separating or unpaired
 * surrogate character, no space at either end. It goes into records, headers and ledger keys.
 */
export function isName(value: JsonValue | undefined): value is string {
  return (
    typeof value === 'string' &&
    value.length >= 1 &&
    value.length <= maxNameLength &&
    !/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(value) &&
    value.trim() === value
  )
}

/**
 * RFC 7519 NumericDate, whole seconds from 1970 to 9999. The RFC also allows fractions; no provider needs them,
 * and refusing them leaves one reading of every date.
 */
export function readDate(claims: JsonObject, name: string): number | undefined | WrongType {
  const value = member(claims, name)
  if (value === undefined) return undefined
  const inRange = Number.isInteger(value) && Number(value) >= 1 && Number(value) <= maxEpochSeconds
  return inRange ? Number(value) : wrongType
}

/** A claim that is one name if it is there at all. */
export function readName(claims: JsonObject, name: string): string | undefined | WrongType {
  const value = member(claims, name)
  if (value === undefined) return undefined
  return isName(value) ? value : wrongType
}

/** `aud`: one name, or 1 to 20 of them; any junk in the list makes the whole list junk. */
export function readAudiences(claims: JsonObject): readonly string[] | undefined | WrongType {
  const value = member(claims, 'aud')
  if (value === undefined) return undefined
  const list = isArray(value) ? value : [value]
  return list.length >= 1 && list.length <= 20 && list.every(isName) ? list : wrongType
}

/**
 * A claim that is one value to every reader: a name, true or false, or a number that a double does not round to
 * another whole one.
 */
export function readScalar(value: JsonValue): ClaimValue | WrongType {
  if (typeof value === 'boolean' || isName(value)) return value
  const isNumber = typeof value === 'number' && Math.abs(value) <= Number.MAX_SAFE_INTEGER
  return isNumber ? value : wrongType
}

/** A limit: of units a whole number from 1 on, of money an amount above 0. No text: `1e9` and `1.000` have two readings. */
export function readLimit(value: JsonValue, as: 'count' | 'money'): number | WrongType {
  if (typeof value !== 'number' || value <= 0) return wrongType
  const isLimit = as === 'count' ? Number.isSafeInteger(value) : toMicros(value) !== undefined
  return isLimit ? value : wrongType
}

/** One name or a list of names, without repetition. */
export function readNames(value: JsonValue | undefined): readonly string[] | WrongType {
  if (value === undefined) return []
  const list = isArray(value) ? value : [value]
  return list.length <= maxListLength && list.every(isName) ? [...new Set(list)] : wrongType
}

/** RFC 6749 §3.3: printable ASCII without space, quote and backslash, separated by exactly one space. */
const scopeSyntax = /^[!#-[\]-~]+(?: [!#-[\]-~]+)*$/

/**
 * `scope` (RFC 8693 §4.2, one string), or `scp` where the provider writes that (a string or a list). Both are
 * read only when they say the same.
 */
export function readScopes(claims: JsonObject): readonly string[] | WrongType {
  const scope = member(claims, 'scope')
  const scp = member(claims, 'scp')
  const ofScope = scope === undefined ? undefined : splitScopes(scope)
  const ofScp = scp === undefined ? undefined : isArray(scp) ? listScopes(scp) : splitScopes(scp)
  if (ofScope === wrongType || ofScp === wrongType) return wrongType
  if (ofScope === undefined || ofScp === undefined) return ofScope ?? ofScp ?? []
  const same = ofScope.length === ofScp.length && ofScope.every((one) => ofScp.includes(one))
  return same ? ofScope : wrongType
}

function splitScopes(value: JsonValue): readonly string[] | WrongType {
  if (value === '') return []
  if (typeof value !== 'string' || !scopeSyntax.test(value)) return wrongType
  return listScopes(value.split(' '))
}

function listScopes(list: readonly JsonValue[]): readonly string[] | WrongType {
  const scopes: string[] = []
  for (const one of list) {
    if (typeof one !== 'string' || one.includes(' ') || !scopeSyntax.test(one)) return wrongType
    scopes.push(one)
  }
  return scopes.length <= maxListLength ? [...new Set(scopes)] : wrongType
}

/**
 * The claim at a configured path. A claim whose whole name is the path wins, since namespaced names hold dots
 * (`https://example.com/org`); otherwise each dot steps into an object.
 *
 * @returns undefined when it is not there; `wrongType` when the path leads through something that is no object
 */
export function claimAt(claims: JsonObject, path: string): JsonValue | undefined | WrongType {
  const whole = member(claims, path)
  if (whole !== undefined) return whole
  let at: JsonValue | undefined = claims
  for (const step of path.split('.')) {
    if (at === undefined) return undefined
    if (!isObject(at)) return wrongType
    at = member(at, step)
  }
  return at
}
