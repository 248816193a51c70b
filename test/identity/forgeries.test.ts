import { createHmac, createPublicKey, createSign, KeyObject } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { createIdentity } from '../../src/identity/authenticate.js'
import type { Authenticator } from '../../src/identity/authenticate.js'
import type { SignatureAlgorithm } from '../../src/identity/issuer.js'
import {
  createFakeClock,
  createFakeProvider,
  createPair,
  encode,
  exampleIssuer,
  goodClaims,
  issuerUrl,
  sign,
  signRaw,
} from './identity-fixture.js'
import type { FakeProvider, SigningPair } from './identity-fixture.js'

/** Whole credentials, each an attack that some verifier has once accepted. */

let ec: SigningPair
let rsa: SigningPair
let provider: FakeProvider
let authenticator: Authenticator
let good: string

beforeAll(async () => {
  ec = await createPair('ES256', 'ec')
  rsa = await createPair('RS256', 'rsa')
  provider = createFakeProvider(issuerUrl, [ec.publicJwk, rsa.publicJwk])
  authenticator = start(['ES256', 'RS256'], provider)
  good = await sign(ec)
})

function start(algorithms: readonly SignatureAlgorithm[], idp: FakeProvider): Authenticator {
  const identity = createIdentity({
    clock: createFakeClock(),
    random: () => 0,
    fetch: idp.fetch,
    everySecond: () => () => {},
  })
  return identity.use([exampleIssuer({ algorithms })])
}

const parts = (credential: string): [string, string, string] => {
  const [header = '', payload = '', signature = ''] = credential.split('.')
  return [header, payload, signature]
}

const withSignature = (bytes: Uint8Array): string => {
  const [header, payload] = parts(good)
  return `${header}.${payload}.${encode(bytes)}`
}

const signatureBytes = () => Buffer.from(parts(good)[2], 'base64url')

/** The order of P-256's group, as the 32 bytes of r or s. */
const groupOrder = Buffer.from(
  'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
  'hex',
)

test('the credential that the attacks start from is good', async () => {
  expect(await authenticator.authenticate(good)).toMatchObject({ subject: 'alice' })
  expect(await authenticator.authenticate(await sign(rsa))).toMatchObject({ subject: 'alice' })
})

describe('the signature', () => {
  test.each<[string, () => Uint8Array]>([
    ['all zero (CVE-2022-21449)', () => new Uint8Array(64)],
    ['with r = n', () => Buffer.concat([groupOrder, signatureBytes().subarray(32)])],
    ['with s = n', () => Buffer.concat([signatureBytes().subarray(0, 32), groupOrder])],
    ['with r = 0', () => Buffer.concat([Buffer.alloc(32), signatureBytes().subarray(32)])],
    ['cut', () => signatureBytes().subarray(0, 63)],
    ['of one byte', () => new Uint8Array([1])],
    ['with a byte more', () => Buffer.concat([signatureBytes(), Buffer.from([0])])],
    ['with itself once more', () => Buffer.concat([signatureBytes(), signatureBytes()])],
    ['with a bit changed', () => signatureBytes().map((byte, at) => (at === 40 ? byte ^ 1 : byte))],
    [
      'with r and s swapped',
      () => Buffer.concat([signatureBytes().subarray(32), signatureBytes().subarray(0, 32)]),
    ],
    [
      'in DER',
      () => {
        const [header, payload] = parts(good)
        const privateKey = { key: KeyObject.from(ec.privateKey), dsaEncoding: 'der' } as const
        return createSign('sha256').update(`${header}.${payload}`).sign(privateKey)
      },
    ],
  ])('%s is refused', async (_, make) => {
    expect(await authenticator.authenticate(withSignature(make()))).toMatchObject({
      reason: 'credential_invalid',
      detail: 'signature',
    })
  })

  test('of another credential is refused', async () => {
    const [header, payload] = parts(good)
    const [, , signature] = parts(await sign(ec, goodClaims({ sub: 'bob' })))
    expect(await authenticator.authenticate(`${header}.${payload}.${signature}`)).toMatchObject({
      reason: 'credential_invalid',
    })
  })

  test('over other claims is refused', async () => {
    const [header, , signature] = parts(good)
    const payload = encode(JSON.stringify(goodClaims({ sub: 'root' })))
    expect(await authenticator.authenticate(`${header}.${payload}.${signature}`)).toMatchObject({
      reason: 'credential_invalid',
    })
  })

  test('over another header is refused', async () => {
    const [, payload, signature] = parts(good)
    const header = encode('{"alg":"ES256","kid":"ec","typ":"JWT"}')
    expect(await authenticator.authenticate(`${header}.${payload}.${signature}`)).toMatchObject({
      reason: 'credential_invalid',
    })
  })
})

describe('HMAC with a public key as its secret is refused', () => {
  const secrets: [string, () => Buffer][] = [
    ['PEM', () => Buffer.from(publicKey().export({ type: 'spki', format: 'pem' }))],
    [
      'PEM after a space',
      () => Buffer.from(` ${publicKey().export({ type: 'spki', format: 'pem' }).toString()}`),
    ],
    ['DER', () => publicKey().export({ type: 'spki', format: 'der' })],
    ['JWK', () => Buffer.from(JSON.stringify(rsa.publicJwk))],
    ['modulus', () => Buffer.from(rsa.publicJwk.n ?? '', 'base64url')],
    ['nothing', () => Buffer.alloc(0)],
  ]
  const publicKey = () => createPublicKey({ key: rsa.publicJwk as JsonWebKey, format: 'jwk' })

  test.each(secrets)('%s', async (_, secret) => {
    for (const kid of ['rsa', 'ec']) {
      const header = encode(JSON.stringify({ alg: 'HS256', kid }))
      const input = `${header}.${encode(JSON.stringify(goodClaims()))}`
      const mac = createHmac('sha256', secret()).update(input).digest('base64url')
      expect(await authenticator.authenticate(`${input}.${mac}`)).toMatchObject({
        reason: 'algorithm_refused',
      })
    }
  })
})

describe('the algorithm', () => {
  test('of the header must be in the list of the issuer', async () => {
    const only = start(['RS256'], provider)
    expect(await only.authenticate(good)).toMatchObject({
      reason: 'algorithm_refused',
      detail: 'alg is not in the list of this issuer',
    })
  })

  test('of the header must be that of the key', async () => {
    const credential = await sign({ ...rsa, kid: 'ec' })
    expect(await authenticator.authenticate(credential)).toMatchObject({
      reason: 'algorithm_refused',
      detail: 'the key of that kid is for another algorithm',
    })
  })

  test('ES256 does not go with a P-384 key', async () => {
    const pair = await createPair('ES384', 'ec')
    const idp = createFakeProvider(issuerUrl, [{ ...pair.publicJwk, alg: undefined }])
    const both = start(['ES256', 'ES384'], idp)
    expect(await both.authenticate(good)).toMatchObject({ reason: 'algorithm_refused' })
    expect(await both.authenticate(await sign(pair))).toMatchObject({ subject: 'alice' })
  })

  test('EdDSA is not Ed25519 when the list says one of them (RFC 9864)', async () => {
    const pair = await createPair('Ed25519', 'ed')
    const idp = createFakeProvider(issuerUrl, [{ ...pair.publicJwk, alg: undefined }])
    const strict = start(['Ed25519'], idp)
    expect(await strict.authenticate(await sign(pair))).toMatchObject({ subject: 'alice' })
    expect(await strict.authenticate(await sign({ ...pair, alg: 'EdDSA' }))).toMatchObject({
      reason: 'algorithm_refused',
    })
  })

  test.each<SignatureAlgorithm>([
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'ES256',
    'ES384',
    'ES512',
    'EdDSA',
    'Ed25519',
  ])('%s is verified, and a changed claim is found', async (alg) => {
    const pair = await createPair(alg, 'k')
    const one = start([alg], createFakeProvider(issuerUrl, [pair.publicJwk]))
    const credential = await sign(pair)
    expect(await one.authenticate(credential)).toMatchObject({ subject: 'alice' })
    const [header, , signature] = parts(credential)
    const payload = encode(JSON.stringify(goodClaims({ sub: 'mallory' })))
    expect(await one.authenticate(`${header}.${payload}.${signature}`)).toMatchObject({
      detail: 'signature',
    })
  })
})

describe('the header chooses no key', () => {
  test.each([
    ['jwk', () => ({ jwk: ec.publicJwk })],
    ['jku', () => ({ jku: 'https://evil.test/keys' })],
    ['x5u', () => ({ x5u: 'https://evil.test/cert.pem' })],
    ['x5c', () => ({ x5c: ['MIIB'] })],
  ] as const)('by %s, and nobody is asked', async (_, extra) => {
    const stranger = await createPair('ES256', 'ec')
    const before = provider.asked.length
    expect(
      await authenticator.authenticate(await sign(stranger, goodClaims(), extra())),
    ).toMatchObject({ reason: 'credential_invalid' })
    expect(provider.asked.length).toBe(before)
  })

  test.each(['../../dev/null', "' UNION SELECT 'key", '__proto__', 'constructor', '\0', 'EC'])(
    'by the kid %j',
    async (kid) => {
      expect(await authenticator.authenticate(await sign({ ...ec, kid }))).toMatchObject({
        reason: 'credential_invalid',
        detail: 'no key of that kid',
      })
    },
  )
})

describe('honestly signed, and yet refused', () => {
  const header = '{"alg":"ES256","kid":"ec"}'
  const claims = JSON.stringify(goodClaims())
  const twice = (name: string, value: string) => `${claims.slice(0, -1)},"${name}":${value}}`

  test.each<[string, string, string | Uint8Array]>([
    ['iss twice', header, twice('iss', `"${issuerUrl}"`)],
    ['aud twice', header, twice('aud', '"llm"')],
    ['exp twice', header, twice('exp', '1')],
    ['sub twice', header, twice('sub', '"root"')],
    ['sub twice, once escaped', header, twice('\\u0073ub', '"root"')],
    ['__proto__', header, twice('__proto__', '{"org":"globex"}')],
    ['alg twice', '{"alg":"ES256","kid":"ec","alg":"ES256"}', claims],
    ['a BOM before the claims', header, `\ufeff${claims}`],
    ['claims in UTF-16', header, Buffer.from(claims, 'utf16le')],
    [
      'claims that are no UTF-8',
      header,
      Buffer.from(claims.replace('alice', '\xff\xfe'), 'latin1'),
    ],
    ['claims that are a list', header, `[${claims}]`],
    ['claims that are text', header, JSON.stringify(claims)],
    ['claims too deep', header, twice('x', `${'['.repeat(1000)}${']'.repeat(1000)}`)],
  ])('%s', async (_, headerJson, payload) => {
    expect(await authenticator.authenticate(await signRaw(ec, headerJson, payload))).toMatchObject({
      reason: 'credential_malformed',
    })
  })

  test('an unencoded payload (RFC 7797)', async () => {
    const critical = '{"alg":"ES256","kid":"ec","b64":false,"crit":["b64"]}'
    expect(await authenticator.authenticate(await signRaw(ec, critical, claims))).toMatchObject({
      reason: 'credential_invalid',
    })
  })

  test('the same claims once, to show that the form is all that is wrong', async () => {
    expect(await authenticator.authenticate(await signRaw(ec, header, claims))).toMatchObject({
      subject: 'alice',
    })
  })
})

describe('a key that is not safe signs nothing', () => {
  test.each<[string, Record<string, unknown>]>([
    ['RSA with e = 1', { kty: 'RSA', e: 'AQ' }],
    ['a symmetric key', { kty: 'oct', k: 'AAAA' }],
  ])('%s', async (_, change) => {
    const idp = createFakeProvider(issuerUrl, [ec.publicJwk, { ...rsa.publicJwk, ...change }])
    const answer = start(['ES256', 'RS256'], idp).authenticate(await sign(rsa))
    expect(await answer).toMatchObject({ detail: 'no key of that kid' })
  })
})

test('a credential over 8 KiB is refused before it is decoded', async () => {
  const credential = `${good.slice(0, 40)}${'a'.repeat(8192)}`
  expect(await authenticator.authenticate(credential)).toMatchObject({
    reason: 'credential_too_large',
  })
})

test('every other text of a good credential is refused, remembered or not', async () => {
  await authenticator.authenticate(good)
  const [header, payload, signature] = parts(good)
  const others = [
    `${good}=`,
    `${good}==`,
    `${good} `,
    ` ${good}`,
    `${good}\n`,
    `${good}.`,
    `.${good}`,
    `${header}=.${payload}.${signature}`,
    `${header}.${payload}\n.${signature}`,
    `${header}..${payload}.${signature}`,
    good.replace(/.$/, (last) => ({ A: 'B', Q: 'R', g: 'h', w: 'x' })[last] ?? '='),
  ]
  for (const other of others) {
    expect(await authenticator.authenticate(other)).toMatchObject({
      reason: 'credential_malformed',
    })
  }
})
