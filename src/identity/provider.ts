import type { Clock } from '../clock.js'
import { KIB_BYTES } from '../units.js'
import type { FetchJson } from './fetch-json.js'
import { providerUrlFault } from './issuer.js'
import type { Issuer } from './issuer.js'
import { readKeySet } from './signing-keys.js'
import type { SigningKey } from './signing-keys.js'
import { member, parseStrictObject } from './strict-json.js'
import type { JsonObject } from './strict-json.js'

/** For both documents together: a Check that waits for keys still answers before Envoy's own deadline matters. */
const timeoutMs = 2000
const maxBytes = 256 * KIB_BYTES
/** A JWK set is three deep; a discovery document with its extensions stays below ten. */
const maxDepth = 16

/** What of an issuer decides which keys are its own. Two policies in which these are equal share one key set. */
export type Provider = Pick<
  Issuer,
  'issuer' | 'algorithms' | 'jwksCacheMs' | 'jwksStaleMs' | 'caFile' | 'insecureHttp'
>

/**
 * Asks an issuer for its keys: OpenID Connect Discovery §4, then the key set that it names. Discovery is not
 * kept from one time to the next: it is one small document per refresh, and a provider that moved its keys is
 * followed at once.
 *
 * @returns at least one usable key
 * @throws Error no usable keys were had within 2 s; the message holds nothing that was received
 */
export async function fetchSigningKeys(
  provider: Provider,
  deps: { readonly fetch: FetchJson; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<readonly SigningKey[]> {
  const deadlineMs = deps.clock.monotonicMs() + timeoutMs
  const get = async (what: string, address: string): Promise<JsonObject> => {
    const fault = providerUrlFault(address, provider.insecureHttp)
    if (fault !== undefined) throw new Error(`${what}: its address ${fault}`)
    const leftMs = deadlineMs - deps.clock.monotonicMs()
    if (leftMs <= 0) throw new Error(`${what}: no time left of ${String(timeoutMs)} ms`)
    const { caFile } = provider
    const url = new URL(address)
    const request = { url, caFile, maxBytes, timeoutMs: leftMs, signal: deps.signal }
    const bytes = await deps.fetch(request).catch((cause: unknown) => {
      throw new Error(`${what}: ${cause instanceof Error ? cause.message : 'failed'}`, { cause })
    })
    const document = bytes.length > maxBytes ? undefined : parseStrictObject(bytes, maxDepth)
    if (document === undefined) throw new Error(`${what}: not a strict JSON object`)
    return document
  }

  const discovery = await get('discovery', discoveryUrl(provider.issuer))
  // OpenID Connect Discovery §4.3: exactly the text that was asked for, or someone else is answering.
  if (member(discovery, 'issuer') !== provider.issuer) {
    throw new Error('discovery: the document names another issuer')
  }
  const jwksUri = member(discovery, 'jwks_uri')
  if (typeof jwksUri !== 'string') throw new Error('discovery: no jwks_uri')
  const keys = await readKeySet(await get('key set', jwksUri), provider.algorithms)
  if (keys.length === 0) throw new Error('key set: no usable key for the algorithms of the policy')
  return keys
}

/** OpenID Connect Discovery §4.1: a slash at the end of the issuer is removed before the path is appended. */
function discoveryUrl(issuer: string): string {
  return `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
}
