/** What a claim that quotas count by may say; anything else refuses the credential. */
export type ClaimValue = string | number | boolean

/** The verified caller. */
export interface Principal {
  /** Undefined: the caller came with an API key, which no issuer made. */
  readonly issuer: string | undefined
  readonly subject: string
  /** Who pays; bound to the issuer, so that no issuer can name another's tenant, or written beside the API key. */
  readonly tenant: string
  readonly groups: readonly string[]
  readonly scopes: readonly string[]
  /** `client_id` (RFC 9068) or `azp`, or written beside the API key; undefined when there is none. */
  readonly client: string | undefined
  /** The id of the API key that the caller came with; undefined with any other credential. */
  readonly apiKey?: string | undefined
  /** By name, those of the claims that the policy's quotas name which the credential has. */
  readonly claims?: ReadonlyMap<string, ClaimValue>
  /** Infinity for an API key without an end. */
  readonly expiresAtEpochMs: number
}
