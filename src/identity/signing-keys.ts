import { importJWK } from 'jose'
import type { CryptoKey, JWK } from 'jose'
import type { SignatureAlgorithm } from './issuer.js'
import { isArray, isObject, member } from './strict-json.js'
import type { JsonObject, JsonValue } from './strict-json.js'
import { isWeakModulus } from './weak-modulus.js'

/** A public key of an issuer, bound to the one algorithm that it may be used with (RFC 8725 §3.1). */
export interface SigningKey {
  readonly kid: string | undefined
  readonly alg: SignatureAlgorithm
  readonly key: CryptoKey
  /** Equal for equal keys; tells whether a fetched set differs from the last. */
  readonly fingerprint: string
}

const maxKeys = 100
const maxKidLength = 256

/** Members of private and symmetric keys (RFC 7518 §6): a provider that publishes one has lost the key. */
const secretMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv'] as const

/**
 * The usable keys of a JWK set (RFC 7517 §5), one entry for each algorithm of the issuer that a key can serve.
 * A key that is not usable is left out; the others stay, since a provider may publish keys for other purposes.
 *
 * @throws Error it is no JWK set, or holds more than 100 keys
 */
export async function readKeySet(
  document: JsonObject,
  algorithms: readonly SignatureAlgorithm[],
): Promise<readonly SigningKey[]> {
  const keys = member(document, 'keys')
  if (!isArray(keys)) throw new Error('the key set has no list of keys')
  if (keys.length > maxKeys) throw new Error(`the key set has more than ${String(maxKeys)} keys`)
  const usable: SigningKey[] = []
  for (const jwk of keys) {
    if (!isObject(jwk) || !isPublicSigningKey(jwk)) continue
    for (const alg of algorithms) {
      const key = await importKey(jwk, alg)
      if (key !== undefined) usable.push(key)
    }
  }
  return usable
}

async function importKey(
  jwk: JsonObject,
  alg: SignatureAlgorithm,
): Promise<SigningKey | undefined> {
  const stated = member(jwk, 'alg')
  if (stated !== undefined && stated !== alg) return undefined
  const kid = member(jwk, 'kid')
  try {
    const material = materialFor(jwk, alg)
    if (material === undefined) return undefined
    const key = await importJWK(material as JWK, alg)
    // A symmetric key would come back as bytes; `materialFor` has let none through.
    if (key instanceof Uint8Array) return undefined
    return {
      kid: typeof kid === 'string' ? kid : undefined,
      alg,
      key,
      fingerprint: JSON.stringify([kid ?? null, alg, material]),
    }
  } catch {
    // The library refuses it, as a point that is not on the curve. Whatever fails, fails for this key alone.
    return undefined
  }
}

function isPublicSigningKey(jwk: JsonObject): boolean {
  if (secretMembers.some((name) => Object.hasOwn(jwk, name))) return false
  const use = member(jwk, 'use')
  if (use !== undefined && use !== 'sig') return false
  const operations = member(jwk, 'key_ops')
  if (operations !== undefined && !(isArray(operations) && operations.includes('verify'))) {
    return false
  }
  const kid = member(jwk, 'kid')
  return kid === undefined || (typeof kid === 'string' && kid.length <= maxKidLength)
}

const curveOf = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
  Ed25519: 'Ed25519',
} as const

/** The public members alone, if they make a key that this algorithm may use; else undefined. */
function materialFor(jwk: JsonObject, alg: SignatureAlgorithm): JsonObject | undefined {
  const kty = member(jwk, 'kty')
  switch (alg) {
    case 'RS256':
    case 'RS384':
    case 'RS512':
    case 'PS256':
    case 'PS384':
    case 'PS512': {
      const n = member(jwk, 'n')
      const e = member(jwk, 'e')
      if (kty !== 'RSA' || !isBase64url(n) || !isBase64url(e)) return undefined
      return isSafeRsaKey(n, e) ? { kty, n, e } : undefined
    }
    case 'ES256':
    case 'ES384':
    case 'ES512': {
      const crv = curveOf[alg]
      const x = member(jwk, 'x')
      const y = member(jwk, 'y')
      if (kty !== 'EC' || member(jwk, 'crv') !== crv) return undefined
      return isBase64url(x) && isBase64url(y) ? { kty, crv, x, y } : undefined
    }
    case 'EdDSA':
    case 'Ed25519': {
      const crv = curveOf[alg]
      const x = member(jwk, 'x')
      if (kty !== 'OKP' || member(jwk, 'crv') !== crv) return undefined
      return isBase64url(x) ? { kty, crv, x } : undefined
    }
  }
}

/**
 * 2048 to 8192 bits (below it is breakable, RFC 7518 §3.3; above, one verification stalls a thread), odd, not of
 * the ROCA generator; the exponent odd, at least 65537 (e = 1 signs everything) and at most 4 bytes.
 */
function isSafeRsaKey(n: string, e: string): boolean {
  if (n.length > 1400 || e.length > 6) return false
  const modulus = BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`)
  const exponent = BigInt(`0x${Buffer.from(e, 'base64url').toString('hex')}`)
  const bits = modulus.toString(2).length
  if (bits < 2048 || bits > 8192 || modulus % 2n === 0n || isWeakModulus(modulus)) return false
  return exponent >= 65537n && exponent % 2n === 1n
}

/** Whole bytes, at least one: no bytes have 4n + 1 characters. */
function isBase64url(value: JsonValue | undefined): value is string {
  return typeof value === 'string' && /^[A-Za-z0-9_-]+$/.test(value) && value.length % 4 !== 1
}
