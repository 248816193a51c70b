/** What a claim that quotas count by may say; anything else refuses the credential. */
export type ClaimValue = string | number | boolean

/** The verified caller. */
export interface Principal {
  readonly issuer: string
  readonly subject: string
  /** Who pays; bound to the issuer, so that no issuer can name another's tenant. */
  readonly tenant: string
  readonly groups: readonly string[]
  readonly scopes: readonly string[]
  /** `client_id` (RFC 9068) or `azp`; undefined when the issuer names none. */
  readonly client: string | undefined
  /** By name, those of the claims that the policy's quotas name which the credential has. */
  readonly claims?: ReadonlyMap<string, ClaimValue>
  readonly expiresAtEpochMs: number
}
