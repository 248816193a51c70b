import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import { createKeySet } from '../../src/identity/key-set.js'
import type { KeySet, KeySetEvent } from '../../src/identity/key-set.js'
import type { Provider } from '../../src/identity/provider.js'
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../../src/units.js'
import {
  createFakeClock,
  createFakeProvider,
  createGate,
  createPair,
  exampleIssuer,
  issuerUrl,
} from './identity-fixture.js'
import type { FakeClock, FakeProvider, SigningPair } from './identity-fixture.js'

const cacheMs = 10 * MINUTE_MS
const staleMs = HOUR_MS
const discoveryUrl = `${issuerUrl}/.well-known/openid-configuration`
const keysUrl = `${issuerUrl}/keys`

let first: SigningPair
let second: SigningPair
let clock: FakeClock
let provider: FakeProvider
let events: KeySetEvent[]
let random: number
let keySet: KeySet

beforeAll(async () => {
  first = await createPair('ES256', 'first')
  second = await createPair('ES256', 'second')
})

beforeEach(() => {
  clock = createFakeClock()
  provider = createFakeProvider(issuerUrl, [first.publicJwk])
  events = []
  random = 0
  keySet = create()
})

function create(changes: Partial<Provider> = {}): KeySet {
  return createKeySet(
    { ...exampleIssuer({ jwksCacheMs: cacheMs, jwksStaleMs: staleMs }), ...changes },
    {
      clock,
      random: () => random,
      fetch: provider.fetch,
      onEvent: (event) => events.push(event),
    },
  )
}

const find = (kid: string | undefined) => keySet.find('ES256', kid)
const kinds = () => events.map((event) => event.kind)
const fetchCount = () => provider.asked.filter((url) => url === discoveryUrl).length

describe('the first fetch', () => {
  test('asks for the discovery document, then for the keys that it names', async () => {
    expect(await find('first')).toMatchObject({ kind: 'found', key: { kid: 'first' } })
    expect(provider.asked).toEqual([discoveryUrl, keysUrl])
    expect(events).toEqual([{ kind: 'fetched', issuer: issuerUrl, keyCount: 1 }])
  })

  test('appends to an issuer that ends in a slash, without doubling it', async () => {
    provider = createFakeProvider(`${issuerUrl}/`, [first.publicJwk])
    keySet = create({ issuer: `${issuerUrl}/` })
    await keySet.maintain()
    expect(provider.asked[0]).toBe(discoveryUrl)
    expect(kinds()).toEqual(['fetched'])
  })

  test('is one for a hundred credentials that come at once', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, () => find('first')))
    expect(new Set(answers.map((answer) => answer.kind))).toEqual(new Set(['found']))
    expect(fetchCount()).toBe(1)
  })

  test('is not usable before it is there', async () => {
    expect(keySet.version()).toBeUndefined()
    await keySet.maintain()
    expect(keySet.version()).toBe(1)
  })
})

describe('a provider that cannot be reached', () => {
  test('is a failure of a dependency, never a verdict', async () => {
    provider.failure = 'connection refused'
    const failure = find('first')
    await expect(failure).rejects.toBeInstanceOf(DependencyError)
    await expect(failure).rejects.toMatchObject({
      dependency: 'identity_provider',
      message: `no usable keys of the issuer ${issuerUrl}`,
    })
    expect(events).toEqual([
      { kind: 'failed', issuer: issuerUrl, reason: 'discovery: connection refused' },
    ])
  })

  test('is not asked by each caller: fifty credentials while it backs off ask once', async () => {
    provider.failure = 'HTTP status 500'
    for (let call = 0; call < 50; call++) await expect(find('first')).rejects.toThrow('no usable')
    expect(fetchCount()).toBe(1)
  })

  test.each([
    ['without jitter', 0, [1, 2, 4, 8, 16, 32, 60, 60]],
    ['with the most of it', 0.999_999, [1.25, 2.5, 5, 10, 20, 40, 75, 75]],
  ])('is asked again after 1 s, doubling to a minute, %s', async (_, jitter, expected) => {
    random = jitter
    provider.failure = 'HTTP status 500'
    await keySet.maintain()
    const pauses: number[] = []
    for (const seconds of expected) {
      const before = fetchCount()
      clock.advance(seconds * SECOND_MS - 10)
      await keySet.maintain()
      expect(fetchCount()).toBe(before)
      clock.advance(10)
      await keySet.maintain()
      expect(fetchCount()).toBe(before + 1)
      pauses.push(seconds)
    }
    expect(pauses).toEqual(expected)
  })

  test('at the start is asked at most ten times in the first minute, and 70 times in an hour', async () => {
    provider.failure = 'timeout'
    let inFirstMinute = 0
    for (let second = 0; second < 3600; second++) {
      random = (second % 10) / 10
      await keySet.maintain()
      if (second === 59) inFirstMinute = fetchCount()
      clock.advance(SECOND_MS)
    }
    expect(inFirstMinute).toBeLessThanOrEqual(10)
    expect(fetchCount()).toBeLessThanOrEqual(70)
    expect(fetchCount()).toBeGreaterThan(40)
  })

  test('starts with short pauses again after a success', async () => {
    provider.failure = 'timeout'
    for (let attempt = 0; attempt < 5; attempt++) {
      await keySet.maintain()
      clock.advance(MINUTE_MS)
    }
    provider.failure = undefined
    await keySet.maintain()
    clock.advance(cacheMs)
    provider.failure = 'timeout'
    await keySet.maintain()
    const before = fetchCount()
    clock.advance(SECOND_MS)
    await keySet.maintain()
    expect(fetchCount()).toBe(before + 1)
  })
})

describe('a fetched set', () => {
  test('is asked for again at about half its life, by nobody who waits', async () => {
    await find('first')
    clock.advance(0.4 * cacheMs - 1)
    await find('first')
    expect(fetchCount()).toBe(1)

    const gate = createGate()
    provider.gate = gate.wait
    clock.advance(1)
    expect(await find('first')).toMatchObject({ kind: 'found' })
    expect(kinds()).toEqual(['fetched'])
    gate.open()
    await keySet.maintain()
    expect(kinds()).toEqual(['fetched', 'fetched'])
    expect(fetchCount()).toBe(2)
  })

  test('is asked for again by the timer, without any credential', async () => {
    await keySet.maintain()
    for (let minute = 0; minute < 60; minute++) {
      clock.advance(MINUTE_MS)
      await keySet.maintain()
    }
    expect(fetchCount()).toBe(16)
    expect(keySet.version()).toBe(1)
  })

  test('past its life is asked for before it is used', async () => {
    await find('first')
    clock.advance(cacheMs + 1)
    provider.keys = [second.publicJwk]
    expect(await find('second')).toMatchObject({ kind: 'found' })
    expect(kinds()).toEqual(['fetched', 'fetched'])
  })

  test('past its life serves on while the provider is away, and only the first caller waits', async () => {
    await find('first')
    clock.advance(cacheMs + 1)
    provider.failure = 'timeout'
    expect(await find('first')).toMatchObject({ kind: 'found' })
    expect(kinds()).toEqual(['fetched', 'failed', 'stale'])
    expect(events[2]).toEqual({ kind: 'stale', issuer: issuerUrl, ageMs: cacheMs + 1 })

    // The provider now hangs: whoever comes is answered nevertheless.
    provider.gate = createGate().wait
    clock.advance(2 * SECOND_MS)
    expect(await find('first')).toMatchObject({ kind: 'found' })
    expect(fetchCount()).toBe(3)
  })

  test('is not called stale in its life, nor past all its time, whatever fails', async () => {
    await find('first')
    provider.failure = 'timeout'
    clock.advance(cacheMs)
    await keySet.maintain()
    expect(kinds()).toEqual(['fetched', 'failed'])
    clock.advance(SECOND_MS)
    await keySet.maintain()
    clock.advance(staleMs)
    await keySet.maintain()
    expect(kinds()).toEqual(['fetched', 'failed', 'failed', 'stale', 'failed'])
  })

  test('is served stale to the bound and not beyond', async () => {
    await find('first')
    provider.failure = 'timeout'
    clock.advance(cacheMs + staleMs)
    expect(await find('first')).toMatchObject({ kind: 'found' })
    expect(keySet.version()).toBe(1)
    clock.advance(1)
    expect(keySet.version()).toBeUndefined()
    await expect(find('first')).rejects.toBeInstanceOf(DependencyError)
  })

  test('comes back by itself when the provider does', async () => {
    await find('first')
    provider.failure = 'timeout'
    clock.advance(cacheMs + staleMs + 1)
    await keySet.maintain()
    expect(keySet.version()).toBeUndefined()
    provider.failure = undefined
    clock.advance(SECOND_MS)
    await keySet.maintain()
    expect(await find('first')).toMatchObject({ kind: 'found' })
  })

  test('is as old as the moment it was asked for, not as its answer', async () => {
    const gate = createGate()
    provider.gate = gate.wait
    const answer = find('first')
    clock.advance(1500)
    gate.open()
    await answer
    provider.failure = 'timeout'
    clock.advance(cacheMs + staleMs - 1500)
    expect(keySet.version()).toBe(1)
    clock.advance(1)
    expect(keySet.version()).toBeUndefined()
  })
})

describe('a set is replaced whole', () => {
  test('a new key is found and a withdrawn one is not', async () => {
    await find('first')
    provider.keys = [second.publicJwk]
    clock.advance(cacheMs / 2)
    await keySet.maintain()
    expect(await find('second')).toMatchObject({ kind: 'found', version: 2 })
    expect(await find('first')).toEqual({ kind: 'unknown' })
  })

  test('the version stays while the keys do, in whatever order they come', async () => {
    provider.keys = [first.publicJwk, second.publicJwk]
    await keySet.maintain()
    provider.keys = [second.publicJwk, first.publicJwk]
    clock.advance(cacheMs / 2)
    await keySet.maintain()
    expect(kinds()).toEqual(['fetched', 'fetched'])
    expect(keySet.version()).toBe(1)
  })

  test('the version changes when a key is another under the same kid', async () => {
    await keySet.maintain()
    provider.keys = [{ ...second.publicJwk, kid: 'first' }]
    clock.advance(cacheMs / 2)
    await keySet.maintain()
    expect(keySet.version()).toBe(2)
  })

  test.each<[string, () => void, string]>([
    ['no keys', () => (provider.keys = []), 'key set: no usable key'],
    ['no usable keys', () => (provider.keys = [{ kty: 'oct', k: 'x' }]), 'key set: no usable key'],
    [
      '101 keys',
      () => (provider.keys = Array.from({ length: 101 }, () => second.publicJwk)),
      'more than 100 keys',
    ],
    ['another issuer', () => (provider.discovery['issuer'] = 'https://x'), 'names another issuer'],
    [
      'an issuer with a slash more',
      () => (provider.discovery['issuer'] = `${issuerUrl}/`),
      'discovery: the document names another issuer',
    ],
    ['no issuer', () => delete provider.discovery['issuer'], 'names another issuer'],
    ['no jwks_uri', () => delete provider.discovery['jwks_uri'], 'discovery: no jwks_uri'],
    ['a list of jwks_uri', () => (provider.discovery['jwks_uri'] = [keysUrl]), 'no jwks_uri'],
    ['no URL', () => (provider.discovery['jwks_uri'] = '/keys'), 'its address is not a URL'],
    ['http', () => (provider.discovery['jwks_uri'] = 'http://idp.test/keys'), 'needs insecureHttp'],
    ['a file', () => (provider.discovery['jwks_uri'] = 'file:///etc/passwd'), 'is not https'],
    [
      'an address with a password',
      () => (provider.discovery['jwks_uri'] = 'https://a:b@idp.test/keys'),
      'holds a user name or password',
    ],
  ])('never by %s', async (_, spoil, reason) => {
    await find('first')
    const keysBefore = provider.asked.length
    spoil()
    clock.advance(cacheMs / 2)
    await keySet.maintain()
    expect(events[1]).toMatchObject({ kind: 'failed' })
    expect(events[1]).toHaveProperty('reason', expect.stringContaining(reason))
    expect(await find('first')).toMatchObject({ kind: 'found', version: 1 })
    expect(provider.asked.slice(keysBefore)).not.toContain('http://idp.test/keys')
  })

  test.each([
    ['HTML', '<html></html>'],
    ['JSON that is no object', '[]'],
    ['a document that names a member twice', `{"issuer":"${issuerUrl}","issuer":"${issuerUrl}"}`],
    ['too much', `{"a":"${'a'.repeat(256 * 1024)}"}`],
  ])('never by %s', async (_, text) => {
    await find('first')
    keySet = createKeySet(exampleIssuer(), {
      clock,
      random: () => 0,
      fetch: async () => Buffer.from(text),
      onEvent: (event) => events.push(event),
    })
    await keySet.maintain()
    const reason = 'discovery: not a strict JSON object'
    expect(events[1]).toEqual({ kind: 'failed', issuer: issuerUrl, reason })
  })

  test('has 2 seconds for both documents together', async () => {
    const timeouts: number[] = []
    keySet = createKeySet(exampleIssuer(), {
      clock,
      random: () => 0,
      onEvent: (event) => events.push(event),
      fetch: async (request) => {
        timeouts.push(request.timeoutMs)
        clock.advance(1600)
        return provider.fetch(request)
      },
    })
    await keySet.maintain()
    expect(timeouts).toEqual([2000, 400])
  })

  test('gives up when the first document took all the time', async () => {
    keySet = createKeySet(exampleIssuer(), {
      clock,
      random: () => 0,
      onEvent: (event) => events.push(event),
      fetch: async (request) => {
        clock.advance(2000)
        return provider.fetch(request)
      },
    })
    await keySet.maintain()
    expect(events).toMatchObject([{ kind: 'failed', reason: 'key set: no time left of 2000 ms' }])
  })
})

describe('an unknown key id', () => {
  test('makes one new fetch, which finds a key that is new', async () => {
    await find('first')
    provider.keys = [first.publicJwk, second.publicJwk]
    expect(await find('second')).toMatchObject({ kind: 'found', key: { kid: 'second' } })
    expect(kinds()).toEqual(['fetched', 'refetched_unknown_kid', 'fetched'])
    expect(await find('first')).toMatchObject({ kind: 'found' })
  })

  test('ten thousand of them make one fetch in ten seconds', async () => {
    await find('first')
    for (let batch = 0; batch < 10; batch++) {
      const answers = await Promise.all(
        Array.from({ length: 1000 }, (_, at) => find(`random-${String(batch)}-${String(at)}`)),
      )
      expect(new Set(answers.map((answer) => answer.kind))).toEqual(new Set(['unknown']))
      clock.advance(999)
    }
    expect(fetchCount()).toBe(2)
    clock.advance(10)
    await find('random')
    expect(fetchCount()).toBe(3)
  })

  test('does not hold up the known ones', async () => {
    await find('first')
    const gate = createGate()
    provider.gate = gate.wait
    const unknown = find('random')
    expect(await find('first')).toMatchObject({ kind: 'found' })
    gate.open()
    expect(await unknown).toEqual({ kind: 'unknown' })
  })

  test('asks nobody while the provider is being left alone after failures', async () => {
    await find('first')
    clock.advance(cacheMs)
    provider.failure = 'timeout'
    for (const backoffSeconds of [1, 2, 4, 8, 16]) {
      await keySet.maintain()
      clock.advance(backoffSeconds * SECOND_MS)
    }
    await keySet.maintain()
    const before = fetchCount()
    // The cool-down of unknown key ids is over, the pause of 32 s is not.
    clock.advance(31 * SECOND_MS)
    expect(await find('random')).toEqual({ kind: 'unknown' })
    expect(fetchCount()).toBe(before)
    clock.advance(SECOND_MS)
    expect(await find('random')).toEqual({ kind: 'unknown' })
    expect(fetchCount()).toBe(before + 1)
  })

  test('joins a fetch that is under way', async () => {
    await find('first')
    provider.keys = [first.publicJwk, second.publicJwk]
    clock.advance(cacheMs / 2)
    const gate = createGate()
    provider.gate = gate.wait
    const maintained = keySet.maintain()
    const found = find('second')
    gate.open()
    expect(await found).toMatchObject({ kind: 'found' })
    await maintained
    expect(kinds()).toEqual(['fetched', 'fetched'])
  })
})

describe('a key is selected', () => {
  test('by kid and algorithm: the same kid for another algorithm asks nobody', async () => {
    await find('first')
    expect(await keySet.find('RS256', 'first')).toEqual({ kind: 'other_algorithm' })
    expect(fetchCount()).toBe(1)
  })

  test('without a kid, when only one fits', async () => {
    expect(await find(undefined)).toMatchObject({ kind: 'found', key: { kid: 'first' } })
  })

  test('not without a kid, when several fit', async () => {
    provider.keys = [first.publicJwk, second.publicJwk]
    expect(await find(undefined)).toEqual({ kind: 'ambiguous' })
  })

  test('not by a kid that two keys have', async () => {
    provider.keys = [first.publicJwk, { ...second.publicJwk, kid: 'first' }]
    expect(await find('first')).toEqual({ kind: 'ambiguous' })
  })
})

describe('a closed set', () => {
  test('aborts the fetch under way, reports nothing and starts no other', async () => {
    const gate = createGate()
    provider.gate = gate.wait
    const maintained = keySet.maintain()
    keySet.close()
    gate.open()
    await maintained
    clock.advance(HOUR_MS)
    await keySet.maintain()
    expect(fetchCount()).toBe(1)
    expect(events).toEqual([])
    await expect(find('first')).rejects.toBeInstanceOf(DependencyError)
  })

  test('still has its keys, for the decisions that hold the old policy', async () => {
    await keySet.maintain()
    keySet.close()
    clock.advance(cacheMs)
    expect(await find('first')).toMatchObject({ kind: 'found' })
    expect(await find('random')).toEqual({ kind: 'unknown' })
    expect(fetchCount()).toBe(1)
  })
})
