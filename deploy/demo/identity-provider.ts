import { generateKeyPairSync, randomBytes } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Configuration } from 'oidc-provider'

type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void>

const LIFETIME_SECONDS = 3600

/** What every caller presents to get a credential; it opens nothing but this loopback server. */
export const clientSecret = 'tollgate-demo'

/** A caller that the identity provider knows. Its name is the client id and the subject. */
export interface Caller {
  readonly name: string
  readonly tenant: string
  readonly groups: readonly string[]
}

export interface IdentityProvider {
  readonly issuer: string
  /** A fresh credential of the caller: a JWT, good for an hour. */
  issue(caller: string): Promise<string>
  /** Signs with a new key from now on; the old one stays published. */
  rotateKey(): Promise<void>
  /** The keys of the issuer are not handed out until `releaseKeys`: whoever asks, waits. */
  holdKeys(): void
  releaseKeys(): void
  close(): Promise<void>
}

export interface IdentityProviderOptions {
  /** 0: any free one. */
  readonly port: number
  readonly callers: readonly Caller[]
  /** Whom the credentials are for. */
  readonly audience: string
}

/** A development identity provider on loopback: OAuth client credentials in, JWT access tokens (RFC 9068) out. */
export async function startIdentityProvider(
  options: IdentityProviderOptions,
): Promise<IdentityProvider> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, '127.0.0.1', resolve)
  })
  const issuer = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
  const callers = new Map(options.callers.map((caller) => [caller.name, caller]))
  const configuration = {
    clients: options.callers.map((caller) => ({
      client_id: caller.name,
      client_secret: clientSecret,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      id_token_signed_response_alg: 'ES256',
    })),
    scopes: [],
    ttl: { ClientCredentials: LIFETIME_SECONDS },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => `urn:${options.audience}`,
        getResourceServerInfo: () => ({
          scope: '',
          audience: options.audience,
          accessTokenTTL: LIFETIME_SECONDS,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    extraTokenClaims: (_context: unknown, { clientId }: { clientId: string }) => {
      const caller = callers.get(clientId)
      return caller === undefined ? {} : { tenant: caller.tenant, groups: caller.groups }
    },
  }
  let keys: readonly JsonWebKey[] = [createKey('demo-1')]
  let answer = await createAnswer(issuer, { ...configuration, jwks: { keys } })

  let keysWait: Promise<void> = Promise.resolve()
  let openKeys = (): void => undefined
  server.on('request', (request, response) => {
    const wait = request.url === '/jwks' ? keysWait : Promise.resolve()
    void wait.then(() => answer(request, response))
  })

  return {
    issuer,
    async issue(caller) {
      const response = await fetch(`${issuer}/token`, {
        method: 'POST',
        body: new URLSearchParams({
          grant_type: 'client_credentials',
          client_id: caller,
          client_secret: clientSecret,
        }),
      })
      if (!response.ok) {
        throw new Error(`the identity provider refused ${caller}: ${await response.text()}`)
      }
      const { access_token: credential } = (await response.json()) as { access_token: string }
      return credential
    },
    async rotateKey() {
      keys = [createKey(`demo-${String(keys.length + 1)}`), ...keys]
      answer = await createAnswer(issuer, { ...configuration, jwks: { keys } })
    },
    holdKeys() {
      keysWait = new Promise((resolve) => {
        openKeys = resolve
      })
    },
    releaseKeys() {
      openKeys()
      keysWait = Promise.resolve()
    },
    async close() {
      openKeys()
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
}

/** The provider signs with the first key of its set. */
function createKey(kid: string): JsonWebKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }
}

/**
 * The provider's request handler. At import it warns of Node 20, where it works, and when it is built of its memory
 * store, which is meant: both lines would only puzzle whoever reads the demo's output.
 */
async function createAnswer(issuer: string, configuration: Configuration): Promise<Answer> {
  const { warn, info } = console
  console.warn = () => undefined
  console.info = () => undefined
  try {
    const { Provider } = await import('oidc-provider')
    return new Provider(issuer, configuration).callback()
  } finally {
    console.warn = warn
    console.info = info
  }
}
