import { exportJWK, generateKeyPair, importJWK, SignJWT } from 'jose'
import type { CryptoKey, JWK, JWTPayload } from 'jose'
import type { Clock } from '../../src/clock.js'
import type { FetchJson } from '../../src/identity/fetch-json.js'
import type { Issuer, SignatureAlgorithm } from '../../src/identity/issuer.js'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../../src/units.js'

/** 2026-01-01T00:00:00Z, in seconds as in claims. */
export const startSeconds = 1_767_225_600

export interface FakeClock extends Clock {
  advance(durationMs: number): void
  /** Moves the wall clock alone, as an operator or NTP does. */
  jump(durationMs: number): void
}

export function createFakeClock(): FakeClock {
  let epochMs = startSeconds * SECOND_MS
  let monotonicMs = 5000
  return {
    nowEpochMs: () => epochMs,
    monotonicMs: () => monotonicMs,
    advance(durationMs) {
      epochMs += durationMs
      monotonicMs += durationMs
    },
    jump(durationMs) {
      epochMs += durationMs
    },
  }
}

export const issuerUrl = 'https://idp.test/realms/ml'

export function exampleIssuer(changes: Partial<Issuer> = {}): Issuer {
  return {
    issuer: issuerUrl,
    audiences: ['llm'],
    algorithms: ['ES256', 'RS256'],
    tenant: { kind: 'claim', claim: 'org' },
    groupsClaim: 'groups',
    clockToleranceMs: 30 * SECOND_MS,
    maxLifetimeMs: 24 * HOUR_MS,
    jwksCacheMs: 10 * MINUTE_MS,
    claims: [],
    jwksStaleMs: HOUR_MS,
    caFile: undefined,
    insecureHttp: false,
    ...changes,
  }
}

/** Claims that are accepted; each test spoils one thing. */
export function goodClaims(changes: Record<string, unknown> = {}): JWTPayload {
  return {
    iss: issuerUrl,
    sub: 'alice',
    aud: 'llm',
    exp: startSeconds + 600,
    iat: startSeconds - 10,
    org: 'acme',
    groups: ['research'],
    scope: 'chat embed',
    client_id: 'notebook',
    ...changes,
  }
}

export interface SigningPair {
  readonly kid: string | undefined
  readonly alg: SignatureAlgorithm
  readonly privateKey: CryptoKey
  readonly publicJwk: JWK
}

/** One for all tests of a file: making one takes a good part of a second. */
let rsaPrivateJwk: Promise<JWK> | undefined

async function createPrivateJwk(alg: SignatureAlgorithm): Promise<JWK> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true })
  return exportJWK(privateKey)
}

/** A new key pair; RSA pairs of one test file are the same key. */
export async function createPair(
  alg: SignatureAlgorithm,
  kid: string | undefined,
): Promise<SigningPair> {
  const isRsa = alg.startsWith('RS') || alg.startsWith('PS')
  const privateJwk = await (isRsa
    ? (rsaPrivateJwk ??= createPrivateJwk(alg))
    : createPrivateJwk(alg))
  const privateKey = await importJWK(privateJwk, alg)
  if (privateKey instanceof Uint8Array) throw new Error('not a key pair')
  const { kty, crv, x, y, n, e } = privateJwk
  const publicMembers = JSON.parse(JSON.stringify({ kty, crv, x, y, n, e })) as JWK
  const named = kid === undefined ? {} : { kid }
  return { kid, alg, privateKey, publicJwk: { ...publicMembers, ...named, alg } }
}

export async function sign(
  pair: SigningPair,
  claims: JWTPayload = goodClaims(),
  header: Record<string, unknown> = {},
): Promise<string> {
  const kid = pair.kid === undefined ? {} : { kid: pair.kid }
  return new SignJWT(claims)
    .setProtectedHeader({ alg: pair.alg, ...kid, ...header })
    .sign(pair.privateKey)
}

/** Header and claims of any text, honestly signed over: what a library would never make. */
export async function signRaw(
  pair: SigningPair,
  headerJson: string,
  payload: string | Uint8Array,
): Promise<string> {
  const input = `${encode(headerJson)}.${encode(payload)}`
  const algorithm = { name: 'ECDSA', hash: 'SHA-256' }
  const signature = await crypto.subtle.sign(algorithm, pair.privateKey, Buffer.from(input))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

export function encode(value: string | Uint8Array): string {
  return Buffer.from(value).toString('base64url')
}

/** An identity provider without a network: what it publishes, whether it answers, what it was asked. */
export interface FakeProvider {
  readonly fetch: FetchJson
  readonly asked: string[]
  keys: readonly unknown[]
  discovery: Record<string, unknown>
  /** undefined: it answers; else every request fails so. */
  failure: string | undefined
  /** While set, an answer waits for it. */
  gate: Promise<void> | undefined
}

export function createFakeProvider(issuer: string, keys: readonly unknown[]): FakeProvider {
  const jwksUri = `${issuer}/keys`
  const provider: FakeProvider = {
    asked: [],
    keys,
    discovery: { issuer, jwks_uri: jwksUri },
    failure: undefined,
    gate: undefined,
    async fetch({ url, signal }) {
      provider.asked.push(url.href)
      await provider.gate
      if (signal.aborted) throw new Error('aborted')
      if (provider.failure !== undefined) throw new Error(provider.failure)
      const isKeys = url.href === provider.discovery['jwks_uri']
      return Buffer.from(JSON.stringify(isKeys ? { keys: provider.keys } : provider.discovery))
    },
  }
  return provider
}

/** A promise that a test opens when it wants to. */
export function createGate(): { readonly wait: Promise<void>; readonly open: () => void } {
  let open = (): void => {}
  const wait = new Promise<void>((resolve) => {
    open = resolve
  })
  return { wait, open }
}
