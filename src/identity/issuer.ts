/** Asymmetric signature algorithms only: never `none`, never HMAC (RFC 8725 §3.1, §3.2). */
export const signatureAlgorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const

export type SignatureAlgorithm = (typeof signatureAlgorithms)[number]

/** A claim that a quota of the policy names. */
export interface NamedClaim {
  /** Of a claim, or a path into one. */
  readonly name: string
  /** What it has to be if it is there: one value, a limit of whole units, or one of money. */
  readonly as: 'value' | 'count' | 'money'
}

/** An identity provider whose credentials are accepted. */
export interface Issuer {
  /** Compared with `iss` as text, byte for byte; discovery starts from it. */
  readonly issuer: string
  readonly audiences: readonly string[]
  readonly algorithms: readonly SignatureAlgorithm[]
  /** Where the tenant of a caller comes from. */
  readonly tenant:
    | { readonly kind: 'fixed'; readonly tenant: string }
    /** Name of a claim, or a path into one, as `resource.org`; only for the sole issuer of a policy. */
    | { readonly kind: 'claim'; readonly claim: string }
  /** Claim that lists the groups, named as above; undefined: no caller of this issuer is in a group. */
  readonly groupsClaim: string | undefined
  readonly claims: readonly NamedClaim[]
  readonly clockToleranceMs: number
  /** `exp` may lie at most this far ahead. */
  readonly maxLifetimeMs: number
  /** How long a fetched key set is used without asking again; it is asked for at about half of it. */
  readonly jwksCacheMs: number
  /** How much longer it is used while the provider cannot be reached. */
  readonly jwksStaleMs: number
  /** PEM bundle to trust for the provider's TLS, beside the public authorities; undefined: those alone. */
  readonly caFile: string | undefined
  /** Allow `http:` for this issuer; only loopback addresses can have it (development). */
  readonly insecureHttp: boolean
}

/**
 * Why these issuers cannot be trusted together; undefined when they can.
 *
 * A tenant pays, so each of several issuers has one fixed tenant of its own: by a claim it could name the tenant
 * of another, and two that share a tenant could each make up the other's subjects.
 */
export function issuersFault(issuers: readonly Issuer[]): string | undefined {
  if (new Set(issuers.map(({ issuer }) => issuer)).size < issuers.length) {
    return 'an issuer is listed twice'
  }
  if (issuers.length < 2) return undefined
  const fixed = issuers.flatMap(({ tenant }) => (tenant.kind === 'fixed' ? [tenant.tenant] : []))
  if (fixed.length < issuers.length) return 'one of several issuers takes its tenant from a claim'
  return new Set(fixed).size < fixed.length ? 'two issuers share a tenant' : undefined
}

/**
 * What is wrong with an address of an identity provider: the issuer itself, or the `jwks_uri` that it names.
 * `https:`, or `http:` to a loopback address where the issuer has `insecureHttp`; no user, no fragment.
 */
export function providerUrlFault(text: string, insecureHttp: boolean): string | undefined {
  if (!URL.canParse(text)) return 'is not a URL'
  const url = new URL(text)
  if (url.username !== '' || url.password !== '') return 'holds a user name or password'
  if (text.includes('#')) return 'has a fragment'
  if (url.protocol === 'https:') return undefined
  if (url.protocol !== 'http:') return 'is not https'
  if (!insecureHttp) return 'is http, which needs insecureHttp'
  return isLoopbackHost(url.hostname) ? undefined : 'is http to an address that is not loopback'
}

/** @param hostname as `URL.hostname` gives it: lower case, IPv4 in canonical form, IPv6 in brackets */
function isLoopbackHost(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname === '[::1]' ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname)
  )
}
