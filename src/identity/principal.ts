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
  readonly expiresAtEpochMs: number
}
