import { exportJWK, generateKeyPair } from 'jose'
import type { JWK } from 'jose'
import { beforeAll, describe, expect, test } from 'vitest'
import { signatureAlgorithms } from '../../src/identity/issuer.js'
import type { SignatureAlgorithm } from '../../src/identity/issuer.js'
import { readKeySet } from '../../src/identity/signing-keys.js'
import type { JsonObject } from '../../src/identity/strict-json.js'
import { isWeakModulus } from '../../src/identity/weak-modulus.js'

let rsa: JWK
let ec: JWK
let ed: JWK
let privateEc: JWK

beforeAll(async () => {
  const create = async (alg: string) => generateKeyPair(alg, { extractable: true })
  const [rsaPair, ecPair, edPair] = await Promise.all(['RS256', 'ES256', 'Ed25519'].map(create))
  if (rsaPair === undefined || ecPair === undefined || edPair === undefined) throw new Error()
  rsa = await exportJWK(rsaPair.publicKey)
  ec = await exportJWK(ecPair.publicKey)
  ed = await exportJWK(edPair.publicKey)
  privateEc = await exportJWK(ecPair.privateKey)
})

async function algorithmsOf(
  jwk: unknown,
  algorithms: readonly SignatureAlgorithm[] = signatureAlgorithms,
): Promise<readonly string[]> {
  const keys = await readKeySet({ keys: [jwk] } as JsonObject, algorithms)
  return keys.map((key) => key.alg)
}

/** Unsigned big-endian bytes, as in a JWK. */
function encodeInteger(value: bigint): string {
  const hex = value.toString(16)
  return Buffer.from(hex.length % 2 === 1 ? `0${hex}` : hex, 'hex').toString('base64url')
}

describe('a public key serves', () => {
  test('each algorithm of its kind, when it names none', async () => {
    const rsaAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
    expect(await algorithmsOf(rsa)).toEqual(rsaAlgorithms)
    expect(await algorithmsOf(ec)).toEqual(['ES256'])
    expect(await algorithmsOf(ed)).toEqual(['EdDSA', 'Ed25519'])
  })

  test('only the algorithm that it names', async () => {
    expect(await algorithmsOf({ ...rsa, alg: 'PS384' })).toEqual(['PS384'])
    expect(await algorithmsOf({ ...ed, alg: 'Ed25519' })).toEqual(['Ed25519'])
  })

  test('only algorithms of the issuer', async () => {
    expect(await algorithmsOf(rsa, ['ES256', 'RS256'])).toEqual(['RS256'])
    expect(await algorithmsOf(ec, ['RS256'])).toEqual([])
  })

  test('when it is said to be for signatures', async () => {
    expect(await algorithmsOf({ ...ec, use: 'sig' })).toEqual(['ES256'])
    expect(await algorithmsOf({ ...ec, key_ops: ['verify'] })).toEqual(['ES256'])
  })

  test('also beside keys that are unusable, and with a certificate that is not read', async () => {
    const document = {
      keys: [null, 1, 'x', {}, { kty: 'XYZ' }, { ...ec, kid: 'k', x5c: ['MIIB'] }],
    }
    const [key, ...others] = await readKeySet(document, ['ES256'])
    expect(others).toEqual([])
    expect(key).toMatchObject({ kid: 'k', alg: 'ES256' })
    expect(key?.key).toMatchObject({ type: 'public' })
  })
})

describe('is left out:', () => {
  const changed = (base: () => JWK, change: Record<string, unknown>) => () => ({
    ...base(),
    ...change,
  })
  const toRsa = (change: Record<string, unknown>) => changed(() => rsa, change)
  const toEc = (change: Record<string, unknown>) => changed(() => ec, change)
  const bits = (count: number) => encodeInteger((1n << BigInt(count - 1)) + 1n)

  test.each<[string, () => unknown]>([
    ['a symmetric key', () => ({ kty: 'oct', k: 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0' })],
    ['a private key', () => privateEc],
    ['an RSA key with a private member', toRsa({ d: 'AQAB' })],
    ['an RSA key with a prime', toRsa({ p: 'AQAB' })],
    ['a key for encryption', toEc({ use: 'enc' })],
    ['a key for an unknown use', toEc({ use: ['sig'] })],
    ['a key for signing alone', toEc({ key_ops: ['sign'] })],
    ['a key for nothing', toEc({ key_ops: [] })],
    ['a key whose operations are a string', toEc({ key_ops: 'verify' })],
    ['a key of another algorithm', toEc({ alg: 'ES384' })],
    ['a key for none', toEc({ alg: 'none' })],
    ['an RSA key for HMAC', toRsa({ alg: 'HS256' })],
    ['a kid that is a number', toEc({ kid: 7 })],
    ['a kid of 257 characters', toEc({ kid: 'k'.repeat(257) })],
    ['a curve that no algorithm has', toEc({ crv: 'secp256k1' })],
    ['a curve that is not its own', toEc({ crv: 'P-384' })],
    ['a point that is not on the curve', toEc({ y: `${'A'.repeat(42)}E` })],
    ['a point at zero', toEc({ x: 'A'.repeat(43), y: 'A'.repeat(43) })],
    ['a point without y', toEc({ y: undefined })],
    ['an RSA modulus of 1024 bits', toRsa({ n: bits(1024) })],
    ['an RSA modulus of 2047 bits', toRsa({ n: bits(2047) })],
    ['an RSA modulus of 8193 bits', toRsa({ n: bits(8193) })],
    ['an RSA modulus of a million bits', toRsa({ n: 'f'.repeat(170_000) })],
    ['an RSA modulus that is even', toRsa({ n: encodeInteger(1n << 2047n) })],
    ['an RSA modulus of one character', toRsa({ n: 'A' })],
    ['an RSA exponent of one character', toRsa({ e: 'A' })],
    ['an RSA modulus that ends within a byte', toRsa({ n: `${'f'.repeat(344)}f` })],
    ['an RSA modulus that is no base64url', toRsa({ n: `${'A'.repeat(341)}=` })],
    ['an RSA exponent of 1', toRsa({ e: 'AQ' })],
    ['an RSA exponent of 3', toRsa({ e: 'Aw' })],
    ['an RSA exponent that is even', toRsa({ e: 'AQAC' })],
    ['an RSA exponent of 5 bytes', toRsa({ e: 'AQAAAAE' })],
    ['an RSA key without exponent', toRsa({ e: undefined })],
    [
      'an RSA modulus of the generator of CVE-2017-15361',
      toRsa({ n: encodeInteger(rocaModulus()) }),
    ],
  ])('%s', async (_, make) => {
    const jwk = JSON.parse(JSON.stringify(make())) as unknown
    expect(await algorithmsOf(jwk)).toEqual([])
  })

  test('the reason is the change: the unchanged keys are usable', async () => {
    for (const jwk of [rsa, ec, ed]) expect(await algorithmsOf(jwk)).not.toEqual([])
  })
})

describe('takes away no other key of its set:', () => {
  const deep = JSON.parse(`${'['.repeat(500)}${']'.repeat(500)}`) as unknown
  const values: readonly (readonly [string, unknown])[] = [
    ['empty', ''],
    ['one character', 'A'],
    ['no whole bytes', 'AAAAA'],
    ['zero', 'AAAA'],
    ['no base64url', '+/=='],
    ['huge', 'f'.repeat(1_000_000)],
    ['null', null],
    ['a number', 65537],
    ['true', true],
    ['a list', ['AQAB']],
    ['an object', { n: 'AQAB' }],
    ['nested', deep],
  ]
  const membersOf = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] } as const

  const table = Object.entries(membersOf).flatMap(([kty, names]) =>
    ['kty', 'kid', 'alg', 'use', 'key_ops', ...names].flatMap((name) =>
      values.map(([what, value]) => ({ kty, name, what, value })),
    ),
  )

  test.each(table)('$kty key whose $name is $what', async ({ kty, name, value }) => {
    const base = { RSA: rsa, EC: ec, OKP: ed }[kty] ?? {}
    const bad = { ...base, kid: 'bad', [name]: value }
    const good = [rsa, ec, ed].map((jwk, at) => ({ ...jwk, kid: `good-${String(at)}` }))
    // As JSON has it, which may be anything.
    const document = { keys: [bad, ...good] } as unknown as JsonObject
    const keys = await readKeySet(document, ['RS256', 'ES256', 'EdDSA'])
    const kids = keys.map((key) => key.kid).filter((kid) => kid?.startsWith('good') === true)
    expect(kids).toEqual(['good-0', 'good-1', 'good-2'])
  })

  test.each(values)('a key that is %s', async (_, value) => {
    // As above.
    const document = { keys: [value, ec] } as unknown as JsonObject
    expect((await readKeySet(document, ['ES256'])).map((key) => key.alg)).toEqual(['ES256'])
  })
})

describe('is no key set:', () => {
  test.each([
    ['no keys', {}, 'the key set has no list of keys'],
    ['an object of keys', { keys: { a: {} } }, 'the key set has no list of keys'],
    ['101 keys', { keys: Array(101).fill({}) }, 'the key set has more than 100 keys'],
  ])('%s', async (_, document, message) => {
    await expect(readKeySet(document, ['ES256'])).rejects.toThrow(message)
  })
})

describe('equal keys have equal fingerprints, and different ones different', () => {
  test('over key, kid and algorithm', async () => {
    const fingerprints = async (jwk: unknown) =>
      (await readKeySet({ keys: [jwk] } as JsonObject, ['RS256', 'PS256', 'ES256'])).map(
        (key) => key.fingerprint,
      )
    const { publicKey } = await generateKeyPair('ES256', { extractable: true })
    const all = [
      ...(await fingerprints(rsa)),
      ...(await fingerprints(ec)),
      ...(await fingerprints({ ...ec, kid: 'a' })),
      ...(await fingerprints({ ...(await exportJWK(publicKey)), kid: 'a' })),
    ]
    expect(new Set(all).size).toBe(5)
    expect(await fingerprints({ ...ec, x5c: ['MIIB'] })).toEqual(await fingerprints(ec))
  })
})

test('moduli of ordinary RSA keys are not taken for weak ones', () => {
  const modulus = BigInt(`0x${Buffer.from(rsa.n ?? '', 'base64url').toString('hex')}`)
  expect(isWeakModulus(modulus)).toBe(false)
  expect(isWeakModulus(rocaModulus())).toBe(true)
})

/**
 * A modulus as that generator leaves it: a power of 65537 modulo M, the product of the 126 primes up to 701 that
 * it uses for 2048 bits; the rest is free.
 */
function rocaModulus(): bigint {
  let product = 1n
  for (let candidate = 2; candidate <= 701; candidate++) {
    const divides = (divisor: number) => candidate % divisor === 0
    if (!Array.from({ length: candidate - 2 }, (_, at) => at + 2).some(divides)) {
      product *= BigInt(candidate)
    }
  }
  let residue = 1n
  for (let power = 0; power < 4711; power++) residue = (residue * 65537n) % product
  // M is even and 65537^a odd: the sum is odd for any multiple of M.
  const multiple = (1n << 2047n) / product + 12345n
  return residue + multiple * product
}
