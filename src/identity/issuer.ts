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
  /** Where the tenant of a caller comes from. A claim is a path, as `resource.org`. */
  readonly tenant:
    | { readonly kind: 'fixed'; readonly tenant: string }
    | { readonly kind: 'claim'; readonly claim: string }
  /** Claim that lists the groups; undefined: no caller of this issuer is in a group. */
  readonly groupsClaim: string | undefined
  readonly clockToleranceMs: number
  /** `exp` may lie at most this far ahead. */
  readonly maxLifetimeMs: number
  /** How long a fetched key set is used without asking again. */
  readonly jwksCacheMs: number
  /** How much longer it is used while the provider cannot be reached. */
  readonly jwksStaleMs: number
  /** PEM bundle to trust for the provider's TLS, beside the system's; undefined: the system's alone. */
  readonly caFile: string | undefined
  /** Allow `http:` for this issuer; only loopback addresses can have it (development). */
  readonly insecureHttp: boolean
}
