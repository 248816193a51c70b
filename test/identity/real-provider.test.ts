import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startIdentityProvider } from '../../deploy/demo/identity-provider.js'
import type { IdentityProvider } from '../../deploy/demo/identity-provider.js'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createIdentity } from '../../src/identity/authenticate.js'
import type { Authenticator, Identity } from '../../src/identity/authenticate.js'
import type { Issuer } from '../../src/identity/issuer.js'
import type { KeySetEvent } from '../../src/identity/key-set.js'
import { exampleIssuer } from './identity-fixture.js'

/** Against a certified OpenID Provider over the real network of the machine: nothing is a stand-in. */

let provider: IdentityProvider
let identity: Identity
let authenticator: Authenticator
let events: KeySetEvent[]

function issuerOf(changes: Partial<Issuer> = {}): Issuer {
  return exampleIssuer({
    issuer: provider.issuer,
    algorithms: ['ES256'],
    tenant: { kind: 'claim', claim: 'tenant' },
    insecureHttp: true,
    ...changes,
  })
}

function start(issuer: Issuer): { identity: Identity; authenticator: Authenticator } {
  const started = createIdentity({
    clock: systemClock,
    random: Math.random,
    onEvent: (event) => events.push(event),
  })
  return { identity: started, authenticator: started.use([issuer]) }
}

beforeAll(async () => {
  events = []
  provider = await startIdentityProvider({
    port: 0,
    audience: 'llm',
    callers: [{ name: 'alice', tenant: 'acme', groups: ['research', 'staff'] }],
  })
  const started = start(issuerOf())
  identity = started.identity
  authenticator = started.authenticator
})

afterAll(async () => {
  identity.close()
  await provider.close()
})

describe('a JWT access credential of client_credentials', () => {
  test('makes its caller the principal, with the keys found by discovery', async () => {
    const principal = await authenticator.authenticate(await provider.issue('alice'))
    expect(principal).toMatchObject({
      issuer: provider.issuer,
      subject: 'alice',
      tenant: 'acme',
      groups: ['research', 'staff'],
      scopes: [],
      client: 'alice',
    })
    expect(authenticator.ready()).toBe(true)
    expect(events).toEqual([{ kind: 'fetched', issuer: provider.issuer, keyCount: 1 }])
  })

  test('signed with a key that came after the last fetch is accepted, and the old ones still are', async () => {
    const before = await provider.issue('alice')
    await provider.rotateKey()
    events.length = 0
    expect(await authenticator.authenticate(await provider.issue('alice'))).toMatchObject({
      subject: 'alice',
    })
    expect(events.map((event) => event.kind)).toEqual(['refetched_unknown_kid', 'fetched'])
    expect(await authenticator.authenticate(before)).toMatchObject({ subject: 'alice' })
  })

  test('for another audience is refused', async () => {
    const other = start(issuerOf({ audiences: ['else'] }))
    const answer = await other.authenticator.authenticate(await provider.issue('alice'))
    expect(answer).toMatchObject({ reason: 'audience_mismatch' })
    other.identity.close()
  })

  test('of another algorithm than the policy lists is refused', async () => {
    const other = start(issuerOf({ algorithms: ['RS256'] }))
    const answer = await other.authenticator.authenticate(await provider.issue('alice'))
    expect(answer).toMatchObject({ reason: 'algorithm_refused' })
    other.identity.close()
  })
})

test('plain http is not spoken without insecureHttp, even to loopback', async () => {
  const other = start(issuerOf({ insecureHttp: false }))
  events.length = 0
  const answer = other.authenticator.authenticate(await provider.issue('alice'))
  await expect(answer).rejects.toBeInstanceOf(DependencyError)
  expect(events).toEqual([
    {
      kind: 'failed',
      issuer: provider.issuer,
      reason: 'discovery: its address is http, which needs insecureHttp',
    },
  ])
  other.identity.close()
})

test('a provider under another name than its own is not believed', async () => {
  const other = start(issuerOf({ issuer: provider.issuer.replace('127.0.0.1', 'localhost') }))
  events.length = 0
  await other.authenticator.prefetch()
  expect(events).toMatchObject([{ reason: 'discovery: the document names another issuer' }])
  expect(other.authenticator.ready()).toBe(false)
  other.identity.close()
})
