import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isDenial } from '../../src/denial.js'
import { apiKeyHash, apiKeyOf, createApiKeys, isApiKey } from '../../src/identity/api-keys.js'
import type { ApiKey } from '../../src/identity/api-keys.js'
import { createIdentity } from '../../src/identity/authenticate.js'
import { readCompactJws } from '../../src/identity/compact-jws.js'
import { MINUTE_MS } from '../../src/units.js'
import { runs } from '../runs.js'
import {
  createFakeClock,
  createFakeProvider,
  createPair,
  exampleIssuer,
  issuerUrl,
  sign,
} from './identity-fixture.js'
import type { FakeClock } from './identity-fixture.js'

/** The key whose random bytes are all this one. */
const keyOf = (byte: number): string => apiKeyOf(new Uint8Array(32).fill(byte))

function entryOf(key: string, changes: Partial<ApiKey> = {}): ApiKey {
  return {
    id: 'nightly',
    sha256: apiKeyHash(key),
    tenant: 'acme',
    subject: 'batch',
    groups: ['research'],
    client: 'cron',
    expiresAtEpochMs: undefined,
    ...changes,
  }
}

const nightly = keyOf(1)
const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })

function authenticatorOf(apiKeys: readonly ApiKey[], clock: FakeClock = createFakeClock()) {
  const provider = createFakeProvider(issuerUrl, [])
  const { fetch } = provider
  const identity = createIdentity({ clock, random: () => 0, fetch, everySecond: () => () => {} })
  return { provider, clock, authenticator: identity.use([exampleIssuer()], apiKeys), identity }
}

describe('an API key', () => {
  test('is its prefix and 256 bits, and its hash is that of the whole text', () => {
    fc.assert(
      fc.property(bytes, (random) => {
        const key = apiKeyOf(random)
        expect(key).toMatch(/^tgk_[\w-]{43}$/)
        expect(Buffer.from(key.slice(4), 'base64url')).toEqual(Buffer.from(random))
        expect(apiKeyHash(key)).toBe(createHash('sha256').update(key, 'utf8').digest('hex'))
      }),
      { numRuns: runs(200) },
    )
  })

  test('is of 32 random bytes, and of no fewer', () => {
    expect(() => apiKeyOf(new Uint8Array(31))).toThrow('32 random bytes')
  })

  test('is the caller of its entry, the same each time, without an issuer and without claims', async () => {
    const { authenticator } = authenticatorOf([
      entryOf(keyOf(2), { id: 'other' }),
      entryOf(nightly),
    ])
    const caller = await authenticator.authenticate(nightly)
    expect(caller).toEqual({
      issuer: undefined,
      subject: 'batch',
      tenant: 'acme',
      groups: ['research'],
      scopes: [],
      client: 'cron',
      apiKey: 'nightly',
      expiresAtEpochMs: Infinity,
    })
    expect(await authenticator.authenticate(nightly)).toBe(caller)
  })

  test('is accepted until the moment it expires, and never after', async () => {
    const clock = createFakeClock()
    const expiresAtEpochMs = clock.nowEpochMs() + MINUTE_MS
    const { authenticator } = authenticatorOf([entryOf(nightly, { expiresAtEpochMs })], clock)
    expect(await authenticator.authenticate(nightly)).toMatchObject({ expiresAtEpochMs })
    clock.jump(MINUTE_MS - 1)
    expect(await authenticator.authenticate(nightly)).toMatchObject({ apiKey: 'nightly' })
    clock.jump(1)
    expect(await authenticator.authenticate(nightly)).toMatchObject({
      reason: 'credential_expired',
      message: 'The API key has expired. Ask the operator for another.',
    })
  })

  test('asks no identity provider, and is accepted while none answers', async () => {
    const { authenticator, provider } = authenticatorOf([entryOf(nightly)])
    provider.failure = 'ECONNREFUSED'
    expect(authenticator.ready()).toBe(true)
    expect(await authenticator.authenticate(nightly)).toMatchObject({ apiKey: 'nightly' })
    expect(provider.asked).toEqual([])
  })

  test('belongs to its policy generation: the next one may not have it', async () => {
    const { authenticator, identity } = authenticatorOf([entryOf(nightly)])
    const next = identity.use([exampleIssuer()], [entryOf(keyOf(2))])
    expect(await next.authenticate(nightly)).toMatchObject({ reason: 'credential_invalid' })
    expect(await next.authenticate(keyOf(2))).toMatchObject({ apiKey: 'nightly' })
    // Who is still being decided by the one before keeps it.
    expect(await authenticator.authenticate(nightly)).toMatchObject({ apiKey: 'nightly' })
    expect(identity.use([]).ready()).toBe(true)
    expect(identity.use([exampleIssuer()]).ready()).toBe(false)
  })

  test('is in one entry only', () => {
    const twice = [entryOf(nightly), entryOf(nightly, { id: 'again' })]
    expect(() => createApiKeys(twice, createFakeClock())).toThrow('two keys share a hash')
  })
})

describe('what is no key of the policy', () => {
  const known = authenticatorOf([entryOf(nightly)]).authenticator
  const without = authenticatorOf([]).authenticator

  test('learns nothing from its refusal, which is the same whatever keys there are', async () => {
    const near = nightly.slice(0, -1) + (nightly.endsWith('A') ? 'B' : 'A')
    const answers = await Promise.all(
      [near, keyOf(2), nightly.toLowerCase()].flatMap((guess) => [
        known.authenticate(guess),
        without.authenticate(guess),
      ]),
    )
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1)
    expect(answers[0]).toMatchObject({ kind: 'denied', reason: 'credential_invalid' })
  })

  test('is never accepted, nor is anything of it or of a hash in the answer', async () => {
    const form = fc.oneof(
      bytes.map(apiKeyOf),
      fc.string({ unit: 'grapheme-ascii', maxLength: 60 }).map((rest) => `tgk_${rest}`),
      fc.constantFrom(apiKeyHash(nightly), nightly.slice(4), `${nightly}=`, nightly.slice(0, -1)),
    )
    await fc.assert(
      fc.asyncProperty(form, async (sent) => {
        fc.pre(sent !== nightly)
        const answer = await known.authenticate(sent)
        expect(isDenial(answer)).toBe(true)
        const told = JSON.stringify(answer)
        if (sent.length > 20) expect(told).not.toContain(sent.slice(4))
        expect(told).not.toContain(apiKeyHash(sent))
        expect(told).not.toContain('nightly')
      }),
      { numRuns: runs(300) },
    )
  })

  test.each([
    ['too short', nightly.slice(0, -1)],
    ['too long', `${nightly}A`],
    ['with padding', `${nightly}=`],
    ['in another alphabet', `tgk_${'+'.repeat(43)}`],
    ['its prefix alone', 'tgk_'],
  ])('is malformed where it is no key at all: %s', async (_, sent) => {
    for (const authenticator of [known, without]) {
      expect(await authenticator.authenticate(sent)).toMatchObject({
        reason: 'credential_malformed',
        message: expect.stringContaining('"tgk_" and 43') as string,
      })
    }
  })
})

describe('the prefix', () => {
  test('decides: a JWT goes to its issuer, though an entry has its hash', async () => {
    const pair = await createPair('ES256', 'k1')
    const jwt = await sign(pair)
    const { authenticator, provider } = authenticatorOf([entryOf(jwt)])
    provider.keys = [pair.publicJwk]
    expect(await authenticator.authenticate(jwt)).toMatchObject({
      issuer: issuerUrl,
      subject: 'alice',
    })
    expect(await authenticator.authenticate(jwt)).not.toHaveProperty('apiKey')
  })

  test('is that of no JWT, whatever its header says', () => {
    const header = fc.oneof(fc.json(), fc.string({ unit: 'binary' }))
    fc.assert(
      fc.property(header, (text) => {
        expect(isApiKey(Buffer.from(text).toString('base64url'))).toBe(false)
      }),
      { numRuns: runs(1000) },
    )
    expect(readCompactJws(`${nightly}.e30.AAAA`)).toMatchObject({ kind: 'denied' })
  })

  test('makes no JWT of what follows it', async () => {
    const pair = await createPair('ES256', 'k1')
    const { authenticator, provider } = authenticatorOf([])
    provider.keys = [pair.publicJwk]
    expect(await authenticator.authenticate(`tgk_${await sign(pair)}`)).toMatchObject({
      reason: 'credential_malformed',
    })
    expect(provider.asked).toEqual([])
  })
})
