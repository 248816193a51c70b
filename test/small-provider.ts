import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SignJWT } from 'jose'

/** All that a start asks of an identity provider: who it is, and its keys. */
export interface SmallProvider {
  readonly issuer: string
  /** For the audience `llm`, good for an hour. */
  credentialOf(subject: string): Promise<string>
  close(): void
}

export async function startSmallProvider(): Promise<SmallProvider> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = createServer((request, response) => {
    // By whichever of its names it was asked.
    const named = `http://${request.headers.host ?? ''}`
    const documents: Record<string, object> = {
      '/.well-known/openid-configuration': { issuer: named, jwks_uri: `${named}/jwks` },
      '/jwks': { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'ES256' }] },
    }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(documents[request.url ?? ''] ?? {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
  return {
    issuer,
    credentialOf: (subject) =>
      new SignJWT({ sub: subject, aud: 'llm' })
        .setProtectedHeader({ alg: 'ES256', kid: 'k' })
        .setIssuer(issuer)
        .setExpirationTime('1h')
        .sign(privateKey),
    close: () => {
      server.close()
    },
  }
}
