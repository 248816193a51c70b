import { deny } from '../denial.js'
import type { Denial } from '../denial.js'
import { SECOND_MS } from '../units.js'
import {
  claimAt,
  isName,
  readAudiences,
  readDate,
  readName,
  readLimit,
  readNames,
  readScalar,
  readScopes,
  wrongType,
} from './claim-values.js'
import type { Issuer, NamedClaim } from './issuer.js'
import type { ClaimValue, Principal } from './principal.js'
import { member } from './strict-json.js'
import type { JsonObject, JsonValue } from './strict-json.js'

/** A caller, and when the claims say so: valid from the first moment on, no longer at the second. */
export interface Identified {
  readonly kind: 'identified'
  readonly principal: Principal
  readonly validFromEpochMs: number
  readonly validUntilEpochMs: number
}

/**
 * What verified claims say about the caller. Pure; a claim of the wrong type is never read as a missing one,
 * it refuses the credential and is named, without its value.
 *
 * @param claims of a credential whose signature was verified with a key of `issuer`
 * @returns or `claims_invalid`, `credential_bound`, `audience_mismatch`, `credential_expired`,
 * `credential_not_yet_valid`
 */
export function readClaims(
  claims: JsonObject,
  issuer: Issuer,
  nowEpochMs: number,
): Identified | Denial {
  // The caller selected the issuer by this claim; a second look costs nothing and keeps this rule in one place.
  if (member(claims, 'iss') !== issuer.issuer) return invalid('iss', 'the issuer')
  const purpose = checkPurpose(claims, issuer)
  if (purpose !== undefined) return purpose
  const times = readTimes(claims, issuer, nowEpochMs)
  if (times.kind === 'denied') return times

  const subject = readName(claims, 'sub')
  if (subject === undefined || subject === wrongType) return invalid('sub', 'a name')
  const tenant = readTenant(claims, issuer)
  if (typeof tenant !== 'string') return tenant
  const { groupsClaim } = issuer
  const listed = groupsClaim === undefined ? undefined : claimAt(claims, groupsClaim)
  const groups = listed === wrongType ? wrongType : readNames(listed)
  if (groups === wrongType) return invalid(groupsClaim ?? 'groups', 'at most 256 names')
  const scopes = readScopes(claims)
  if (scopes === wrongType) return invalid('scope', 'one list of at most 256 scopes (scope or scp)')
  const named = readNamedClaims(claims, issuer)
  if (named.kind === 'denied') return named
  const client = readClient(claims)
  if (client === wrongType) return invalid('client_id', 'one name, the same in client_id and azp')

  return {
    kind: 'identified',
    principal: {
      issuer: issuer.issuer,
      subject,
      tenant,
      groups,
      scopes,
      client,
      ...(named.values.size === 0 ? {} : { claims: named.values }),
      expiresAtEpochMs: times.expiresAtEpochMs,
    },
    validFromEpochMs: times.validFromEpochMs,
    validUntilEpochMs: times.validUntilEpochMs,
  }
}

/** The refusal of a credential whose time is over. */
export function expired(): Denial {
  return deny('credential_expired', 'Get a new credential: this one has expired.')
}

function checkPurpose(claims: JsonObject, issuer: Issuer): Denial | undefined {
  // RFC 7800: whoever presents it has to prove possession of a key, and nothing here can check that proof yet.
  if (member(claims, 'cnf') !== undefined) {
    return deny(
      'credential_bound',
      'The credential is bound to a key, and proof of possession is not accepted here. Get one that is not bound.',
    )
  }
  // RFC 8417: a security event, as a logout notice; signed by the same keys, often for the same audience.
  if (member(claims, 'events') !== undefined) return invalid('events', 'absent')
  const audiences = readAudiences(claims)
  if (audiences === undefined || audiences === wrongType) {
    return invalid('aud', 'a name or a list of 1 to 20 names')
  }
  if (audiences.some((audience) => issuer.audiences.includes(audience))) return undefined
  return deny(
    'audience_mismatch',
    'The credential is meant for another service. Ask its issuer for one with the audience of this one.',
  )
}

interface Times {
  readonly kind: 'times'
  readonly expiresAtEpochMs: number
  readonly validFromEpochMs: number
  readonly validUntilEpochMs: number
}

function readTimes(claims: JsonObject, issuer: Issuer, nowEpochMs: number): Times | Denial {
  const exp = readDate(claims, 'exp')
  const nbf = readDate(claims, 'nbf')
  const iat = readDate(claims, 'iat')
  const date = 'a date in whole seconds since 1970'
  if (exp === undefined || exp === wrongType) return invalid('exp', date)
  if (nbf === wrongType) return invalid('nbf', date)
  if (iat === wrongType) return invalid('iat', date)
  if (iat !== undefined && iat > exp) return invalid('iat', 'before exp')
  if (nbf !== undefined && nbf > exp) return invalid('nbf', 'before exp')

  const { clockToleranceMs, maxLifetimeMs } = issuer
  const expiresAtEpochMs = exp * SECOND_MS
  const validUntilEpochMs = expiresAtEpochMs + clockToleranceMs
  if (nowEpochMs >= validUntilEpochMs) return expired()
  if (expiresAtEpochMs > nowEpochMs + maxLifetimeMs + clockToleranceMs) {
    return invalid('exp', 'nearer: credentials that live this long are not accepted')
  }
  // RFC 7519 asks only `nbf` to have passed; an `iat` ahead of us means that a clock is wrong, or that it is made up.
  const validFromEpochMs = Math.max(nbf ?? 0, iat ?? 0) * SECOND_MS - clockToleranceMs
  if (nowEpochMs < validFromEpochMs) {
    return deny(
      'credential_not_yet_valid',
      'The credential is not valid yet. Wait, or check the clock of its issuer.',
    )
  }
  return { kind: 'times', expiresAtEpochMs, validFromEpochMs, validUntilEpochMs }
}

/** What a path or a pattern is made of; a tenant that holds one could mean more than itself somewhere. */
const pathOrPattern = /[*/\\]|^\.{1,2}$/

function readTenant(claims: JsonObject, { tenant }: Issuer): string | Denial {
  if (tenant.kind === 'fixed') return tenant.tenant
  const value = claimAt(claims, tenant.claim)
  if (value === wrongType || !isName(value) || pathOrPattern.test(value)) {
    return invalid(tenant.claim, 'the name of a tenant, without "*", "/" and "\\"')
  }
  return value
}

const expectedClaim = {
  value: 'one name, number or truth value',
  count: 'a limit: a whole number from 1 on',
  money: 'a limit: a number above 0 with at most 6 decimals',
} as const satisfies Record<NamedClaim['as'], string>

interface NamedClaims {
  readonly kind: 'named'
  readonly values: ReadonlyMap<string, ClaimValue>
}

/** The claims that quotas count by. One that is not there is not wrong: its caller counts in a partition of its own. */
function readNamedClaims(claims: JsonObject, issuer: Issuer): NamedClaims | Denial {
  const values = new Map<string, ClaimValue>()
  for (const { name, as } of issuer.claims) {
    const found = claimAt(claims, name)
    if (found === undefined) continue
    const read = as === 'value' ? readScalar : (value: JsonValue) => readLimit(value, as)
    const value = found === wrongType ? wrongType : read(found)
    if (value === wrongType) return invalid(name, expectedClaim[as])
    values.set(name, value)
  }
  return { kind: 'named', values }
}

/** `client_id` (RFC 9068 §2.2) or `azp` (OpenID Connect Core §2); both must mean the same client. */
function readClient(claims: JsonObject): string | undefined | typeof wrongType {
  const clientId = readName(claims, 'client_id')
  const azp = readName(claims, 'azp')
  if (clientId === wrongType || azp === wrongType) return wrongType
  if (clientId !== undefined && azp !== undefined && clientId !== azp) return wrongType
  return clientId ?? azp
}

function invalid(claim: string, expected: string): Denial {
  return deny(
    'claims_invalid',
    `The claim "${claim}" of the credential must be ${expected}. Ask its issuer for a credential that has it so.`,
    { detail: `claim ${claim}` },
  )
}
