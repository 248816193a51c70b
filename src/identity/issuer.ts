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

/** An identity provider whose credentials are accepted. */
export interface Issuer {
  /** Compared with `iss` as text, byte for byte; discovery starts from it. */
  readonly issuer: string
  readonly audiences: readonly string[]
  readonly algorithms: readonly SignatureAlgorithm[]
  /** Where the tenant of a caller comes from. */
  readonly tenant:
    | { readonly kind: 'fixed'; readonly tenant: string }
    | {
        readonly kind: 'claim'
        /** Name of a claim, or a path into one, as `resource.org`. */
        readonly claim: string
        /** The tenants that this issuer may name; left out: any. Beside another issuer it must be there. */
        readonly allowed?: readonly string[]
      }
  /** Claim that lists the groups, named as above; undefined: no caller of this issuer is in a group. */
  readonly groupsClaim: string | undefined
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
 * What is wrong with the issuers taken together; empty when nothing is.
 *
 * A tenant pays, so no issuer may name another's: when there are several, each says which tenants are its own.
 * Two that list the same one share it because the operator wrote so.
 */
export function issuerFaults(
  issuers: readonly Issuer[],
): readonly { readonly index: number; readonly key: string; readonly expected: string }[] {
  return issuers.flatMap(({ issuer, tenant }, index) => {
    const first = issuers.findIndex((other) => other.issuer === issuer)
    const repeated =
      first === index ? [] : [{ index, key: 'issuer', expected: 'an issuer that is listed once' }]
    const open = tenant.kind === 'claim' && tenant.allowed === undefined && issuers.length > 1
    const expected =
      'the list of tenants that this issuer may name, since there is more than one issuer'
    return open ? [...repeated, { index, key: 'tenant.allowed', expected }] : repeated
  })
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
