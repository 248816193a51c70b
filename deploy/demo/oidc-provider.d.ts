// What the demo uses of oidc-provider, which ships without types.
declare module 'oidc-provider' {
  import type { JsonWebKey } from 'node:crypto'
  import type { IncomingMessage, ServerResponse } from 'node:http'

  export interface ResourceServer {
    scope: string
    audience: string
    accessTokenTTL: number
    accessTokenFormat: 'jwt'
    jwt: { sign: { alg: string } }
  }

  export interface Configuration {
    clients: readonly Readonly<Record<string, unknown>>[]
    jwks: { keys: readonly JsonWebKey[] }
    scopes: readonly string[]
    /** Seconds. */
    ttl: { ClientCredentials: number }
    cookies: { keys: readonly string[] }
    features: Readonly<Record<string, Readonly<Record<string, unknown>>>>
    extraTokenClaims: (context: unknown, credential: { clientId: string }) => object
  }

  export class Provider {
    constructor(issuer: string, configuration: Configuration)
    callback(): (request: IncomingMessage, response: ServerResponse) => Promise<void>
  }
}
