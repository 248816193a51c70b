import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import { createIdentity } from '../../src/identity/authenticate.js'
import type { Identity } from '../../src/identity/authenticate.js'
import type { FetchJson } from '../../src/identity/fetch-json.js'
import type { KeySetEvent } from '../../src/identity/key-set.js'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../../src/units.js'
import {
  createFakeClock,
  createFakeProvider,
  createGate,
  createPair,
  exampleIssuer,
  goodClaims,
  issuerUrl,
  sign,
  startSeconds,
} from './identity-fixture.js'
import type { FakeClock, FakeProvider, SigningPair } from './identity-fixture.js'

const otherUrl = 'https://other.test'

let pair: SigningPair
let otherPair: SigningPair
let clock: FakeClock
let provider: FakeProvider
let other: FakeProvider
let events: KeySetEvent[]
let tick: () => void
let stopped: boolean
let identity: Identity

beforeAll(async () => {
  pair = await createPair('ES256', 'k1')
  otherPair = await createPair('ES256', 'k1')
})

beforeEach(() => {
  clock = createFakeClock()
  provider = createFakeProvider(issuerUrl, [pair.publicJwk])
  other = createFakeProvider(otherUrl, [otherPair.publicJwk])
  events = []
  stopped = false
  const fetch: FetchJson = (request) =>
    (request.url.href.startsWith(otherUrl) ? other : provider).fetch(request)
  identity = createIdentity({
    clock,
    random: () => 0,
    fetch,
    onEvent: (event) => events.push(event),
    everySecond(act) {
      tick = act
      return () => {
        stopped = true
      }
    },
  })
})

afterEach(() => {
  vi.restoreAllMocks()
})

/** Signature checks that were made. */
function countVerifications(): () => number {
  const spy = vi.spyOn(crypto.subtle, 'verify')
  return () => spy.mock.calls.length
}

const twoIssuers = [
  exampleIssuer({ tenant: { kind: 'fixed', tenant: 'acme' } }),
  exampleIssuer({ issuer: otherUrl, tenant: { kind: 'fixed', tenant: 'globex' } }),
]

describe('a good credential', () => {
  test('is its principal', async () => {
    const authenticator = identity.use([exampleIssuer()])
    expect(await authenticator.authenticate(await sign(pair))).toEqual({
      issuer: issuerUrl,
      subject: 'alice',
      tenant: 'acme',
      groups: ['research'],
      scopes: ['chat', 'embed'],
      client: 'notebook',
      expiresAtEpochMs: (startSeconds + 600) * SECOND_MS,
    })
  })

  test('is checked once, however often it comes', async () => {
    const verifications = countVerifications()
    const authenticator = identity.use([exampleIssuer()])
    const credential = await sign(pair)
    const together = Array.from({ length: 20 }, () => authenticator.authenticate(credential))
    const principals = await Promise.all(together)
    expect(new Set(principals).size).toBe(1)
    expect(await authenticator.authenticate(credential)).toBe(principals[0])
    expect(verifications()).toBe(1)
  })

  test('is checked again after a minute', async () => {
    const verifications = countVerifications()
    const authenticator = identity.use([exampleIssuer()])
    const credential = await sign(pair)
    await authenticator.authenticate(credential)
    clock.advance(MINUTE_MS - 1)
    await authenticator.authenticate(credential)
    expect(verifications()).toBe(1)
    clock.advance(1)
    await authenticator.authenticate(credential)
    expect(verifications()).toBe(2)
  })

  test('is refused from the moment it expires, though it is remembered', async () => {
    const verifications = countVerifications()
    const authenticator = identity.use([exampleIssuer()])
    const credential = await sign(pair, goodClaims({ exp: startSeconds + 10 }))
    await authenticator.authenticate(credential)
    clock.advance((10 + 30) * SECOND_MS - 1)
    expect(await authenticator.authenticate(credential)).toMatchObject({ subject: 'alice' })
    clock.advance(1)
    expect(await authenticator.authenticate(credential)).toMatchObject({
      reason: 'credential_expired',
    })
    expect(verifications()).toBe(1)
  })

  test('is refused when the wall clock leaps past its end', async () => {
    const authenticator = identity.use([exampleIssuer()])
    const credential = await sign(pair)
    await authenticator.authenticate(credential)
    clock.jump(HOUR_MS)
    expect(await authenticator.authenticate(credential)).toMatchObject({
      reason: 'credential_expired',
    })
    clock.jump(-HOUR_MS)
    expect(await authenticator.authenticate(credential)).toMatchObject({ subject: 'alice' })
  })

  test('is refused when the wall clock leaps back before its beginning', async () => {
    const authenticator = identity.use([exampleIssuer()])
    const credential = await sign(pair)
    await authenticator.authenticate(credential)
    clock.jump(-HOUR_MS)
    expect(await authenticator.authenticate(credential)).toMatchObject({
      reason: 'credential_not_yet_valid',
    })
  })

  test('is judged by the time after a wait for keys, not before', async () => {
    const authenticator = identity.use([exampleIssuer()])
    const gate = createGate()
    provider.gate = gate.wait
    const exp = startSeconds - 29
    const answer = authenticator.authenticate(
      await sign(pair, goodClaims({ exp, iat: startSeconds - 60 })),
    )
    clock.advance(1500)
    gate.open()
    expect(await answer).toMatchObject({ reason: 'credential_expired' })
  })
})

describe('what is remembered', () => {
  test('falls with the key that signed it', async () => {
    const authenticator = identity.use([exampleIssuer()])
    const credential = await sign(pair)
    await authenticator.authenticate(credential)
    const fresh = await createPair('ES256', 'k2')
    provider.keys = [fresh.publicJwk]
    // Another credential's unknown kid has the keys fetched.
    expect(await authenticator.authenticate(await sign(fresh))).toMatchObject({ subject: 'alice' })
    expect(await authenticator.authenticate(credential)).toMatchObject({
      reason: 'credential_invalid',
      detail: 'no key of that kid',
    })
  })

  test('falls with keys that are past their time', async () => {
    const issuer = exampleIssuer({ jwksCacheMs: 10 * SECOND_MS, jwksStaleMs: 10 * SECOND_MS })
    const authenticator = identity.use([issuer])
    const credential = await sign(pair)
    await authenticator.authenticate(credential)
    provider.failure = 'timeout'
    clock.advance(20 * SECOND_MS)
    expect(await authenticator.authenticate(credential)).toMatchObject({ subject: 'alice' })
    clock.advance(1)
    await expect(authenticator.authenticate(credential)).rejects.toBeInstanceOf(DependencyError)
  })

  test('stays when the same keys are fetched again', async () => {
    const verifications = countVerifications()
    const authenticator = identity.use([exampleIssuer({ jwksCacheMs: 20 * SECOND_MS })])
    const credential = await sign(pair)
    await authenticator.authenticate(credential)
    clock.advance(15 * SECOND_MS)
    await authenticator.prefetch()
    await authenticator.authenticate(credential)
    expect(events.map((event) => event.kind)).toEqual(['fetched', 'fetched'])
    expect(verifications()).toBe(1)
  })

  test('does not pass to the next policy generation', async () => {
    const credential = await sign(pair)
    await identity.use([exampleIssuer()]).authenticate(credential)
    const next = identity.use([exampleIssuer({ audiences: ['else'] })])
    expect(await next.authenticate(credential)).toMatchObject({ reason: 'audience_mismatch' })
  })

  test('holds at most ten thousand credentials, and the oldest goes first', async () => {
    // One signature is as good as ten thousand here: what is counted is the cache.
    const verify = vi.spyOn(crypto.subtle, 'verify').mockResolvedValue(true)
    const verifications = () => verify.mock.calls.length
    const authenticator = identity.use([exampleIssuer()])
    const header = Buffer.from('{"alg":"ES256","kid":"k1"}').toString('base64url')
    const make = (number: number) => {
      const claims = JSON.stringify(goodClaims({ jti: String(number) }))
      return `${header}.${Buffer.from(claims).toString('base64url')}.AAAA`
    }
    for (let number = 0; number <= 10_000; number++) await authenticator.authenticate(make(number))
    const before = verifications()
    await authenticator.authenticate(make(1))
    expect(verifications()).toBe(before)
    await authenticator.authenticate(make(0))
    expect(verifications()).toBe(before + 1)
  })
})

describe('a forged credential', () => {
  test('is refused, and costs no second check for ten seconds', async () => {
    const verifications = countVerifications()
    const authenticator = identity.use([exampleIssuer()])
    const forged = await sign(otherPair)
    for (let call = 0; call < 5; call++) {
      expect(await authenticator.authenticate(forged)).toEqual({
        kind: 'denied',
        reason: 'credential_invalid',
        message: 'The signature of the credential is not right. Get a new credential.',
        detail: 'signature',
      })
    }
    expect(verifications()).toBe(1)
    clock.advance(10 * SECOND_MS)
    await authenticator.authenticate(forged)
    expect(verifications()).toBe(2)
  })

  test('is looked at anew when the keys have changed: it may have been right all along', async () => {
    const authenticator = identity.use([exampleIssuer({ jwksCacheMs: 10 * SECOND_MS })])
    const early = await sign(otherPair)
    expect(await authenticator.authenticate(early)).toMatchObject({ reason: 'credential_invalid' })
    provider.keys = [otherPair.publicJwk]
    clock.advance(5 * SECOND_MS)
    await authenticator.prefetch()
    expect(await authenticator.authenticate(early)).toMatchObject({ subject: 'alice' })
  })
})

describe('two issuers with the same kid', () => {
  test('are not taken for each other', async () => {
    const authenticator = identity.use(twoIssuers)
    const ofFirst = await sign(pair)
    const ofOther = await sign(otherPair, goodClaims({ iss: otherUrl }))
    expect(await authenticator.authenticate(ofFirst)).toMatchObject({ tenant: 'acme' })
    expect(await authenticator.authenticate(ofOther)).toMatchObject({ tenant: 'globex' })

    const firstAsOther = await sign(pair, goodClaims({ iss: otherUrl }))
    const otherAsFirst = await sign(otherPair)
    expect(await authenticator.authenticate(firstAsOther)).toMatchObject({ detail: 'signature' })
    expect(await authenticator.authenticate(otherAsFirst)).toMatchObject({ detail: 'signature' })
  })

  test('have the same subject and are two callers', async () => {
    const authenticator = identity.use(twoIssuers)
    const one = await authenticator.authenticate(await sign(pair))
    const two = await authenticator.authenticate(
      await sign(otherPair, goodClaims({ iss: otherUrl })),
    )
    expect(one).toMatchObject({ issuer: issuerUrl, subject: 'alice' })
    expect(two).toMatchObject({ issuer: otherUrl, subject: 'alice' })
  })

  test('that is away does not take the other with it', async () => {
    other.failure = 'timeout'
    const authenticator = identity.use(twoIssuers)
    expect(await authenticator.authenticate(await sign(pair))).toMatchObject({ tenant: 'acme' })
    const ofOther = await sign(otherPair, goodClaims({ iss: otherUrl }))
    await expect(authenticator.authenticate(ofOther)).rejects.toBeInstanceOf(DependencyError)
    expect(authenticator.ready()).toBe(true)
  })
})

describe('an unknown issuer', () => {
  test.each([
    'https://evil.test',
    `${issuerUrl}/`,
    issuerUrl.toUpperCase(),
    issuerUrl.replace('https://', 'https://user@'),
    issuerUrl.replace('idp.test', 'idp.test:443'),
    issuerUrl.replace('idp', 'іdp'),
    `${issuerUrl} `,
    issuerUrl.replace('https', 'http'),
    '',
    '__proto__',
    'constructor',
  ])('%j is refused, and asked for nothing', async (iss) => {
    const authenticator = identity.use([exampleIssuer()])
    expect(await authenticator.authenticate(await sign(pair, goodClaims({ iss })))).toEqual({
      kind: 'denied',
      reason: 'issuer_unknown',
      message:
        'The issuer of the credential is not accepted here. Get a credential from one that is.',
    })
    expect(provider.asked).toEqual([])
  })

  test('is every issuer, when the policy names none', async () => {
    const authenticator = identity.use([])
    expect(await authenticator.authenticate(await sign(pair))).toMatchObject({
      reason: 'issuer_unknown',
    })
    expect(authenticator.ready()).toBe(true)
  })

  test.each([[[issuerUrl]], [7], [null], [{ iss: issuerUrl }], [undefined]])(
    'that is no text is a wrong claim: %j',
    async (iss) => {
      const authenticator = identity.use([exampleIssuer()])
      const claims = { ...goodClaims(), iss } as never
      expect(await authenticator.authenticate(await sign(pair, claims))).toMatchObject({
        reason: 'claims_invalid',
        detail: 'claim iss',
      })
    },
  )
})

describe('readiness', () => {
  test('comes with keys', async () => {
    const authenticator = identity.use(twoIssuers)
    expect(authenticator.ready()).toBe(false)
    await authenticator.prefetch()
    expect(authenticator.ready()).toBe(true)
  })

  test('stays when a reload names another issuer whose provider is down', async () => {
    await identity.use(twoIssuers.slice(0, 1)).prefetch()
    provider.failure = 'timeout'
    const both = identity.use(twoIssuers)
    await both.prefetch()
    expect(both.ready()).toBe(true)
  })

  test('is there where no issuer is named: paths can be public', () => {
    expect(identity.use([]).ready()).toBe(true)
  })

  test('comes by the timer alone, when the provider was away at the start', async () => {
    provider.failure = 'timeout'
    const authenticator = identity.use([exampleIssuer()])
    await authenticator.prefetch()
    expect(authenticator.ready()).toBe(false)
    provider.failure = undefined
    clock.advance(SECOND_MS)
    tick()
    await vi.waitFor(() => {
      expect(authenticator.ready()).toBe(true)
    })
  })
})

describe('a policy reload', () => {
  test('keeps the keys of an issuer whose settings did not change', async () => {
    await identity.use([exampleIssuer()]).prefetch()
    const next = identity.use([exampleIssuer({ audiences: ['else'], clockToleranceMs: 0 })])
    expect(next.ready()).toBe(true)
    expect(events.length).toBe(1)
  })

  test.each([
    ['algorithms', { algorithms: ['ES256'] }],
    ['caFile', { caFile: '/ca.pem' }],
    ['jwksCacheMs', { jwksCacheMs: 1 }],
  ] as const)('fetches anew when %s changed', async (_, change) => {
    await identity.use([exampleIssuer()]).prefetch()
    expect(identity.use([exampleIssuer(change)]).ready()).toBe(false)
  })

  test('stops asking an issuer that is gone; who is still being decided has its keys', async () => {
    const before = identity.use(twoIssuers)
    await before.prefetch()
    identity.use([exampleIssuer()])
    other.asked.length = 0
    clock.advance(5 * MINUTE_MS)
    tick()
    const credential = await sign(otherPair, goodClaims({ iss: otherUrl }))
    expect(await before.authenticate(credential)).toMatchObject({ tenant: 'globex' })
    expect(other.asked).toEqual([])
  })

  test('is refused when two issuers could name one tenant', () => {
    expect(() => identity.use([exampleIssuer(), exampleIssuer({ issuer: otherUrl })])).toThrow(
      'issuers: one of several issuers takes its tenant from a claim',
    )
  })
})

test('close stops the timer and aborts what is under way', async () => {
  const gate = createGate()
  provider.gate = gate.wait
  const authenticator = identity.use([exampleIssuer()])
  const fetched = authenticator.prefetch()
  identity.close()
  gate.open()
  await fetched
  expect(stopped).toBe(true)
  expect(authenticator.ready()).toBe(false)
  expect(events).toEqual([])
})

test('nothing of a credential is in what is reported or thrown', async () => {
  const canary = 'canary-7d1f'
  const authenticator = identity.use([exampleIssuer()])
  const claims = goodClaims({ sub: canary, jti: canary, org: `${canary}*` })
  const credential = await sign(pair, claims, { kid: canary })
  const known = await sign(pair, claims)
  const forged = await sign(otherPair, claims)
  const answers = await Promise.all(
    [credential, known, forged].map((each) => authenticator.authenticate(each)),
  )
  provider.failure = 'timeout'
  clock.advance(2 * HOUR_MS)
  const failure = await authenticator.authenticate(known).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(DependencyError)
  const said = JSON.stringify([answers, events, String(failure)])
  expect(said).not.toContain(canary)
  for (const part of credential.split('.')) expect(said).not.toContain(part)
})
