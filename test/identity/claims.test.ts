import { describe, expect, test } from 'vitest'
import { readClaims } from '../../src/identity/claims.js'
import type { Issuer } from '../../src/identity/issuer.js'
import type { JsonObject } from '../../src/identity/strict-json.js'
import { SECOND_MS } from '../../src/units.js'
import { exampleIssuer, goodClaims, issuerUrl, startSeconds } from './identity-fixture.js'

const day = 24 * 3600

/** `undefined` in `changes` takes a claim away, as JSON does. */
function read(changes: Record<string, unknown>, issuer: Partial<Issuer> = {}) {
  const text = JSON.stringify(goodClaims(changes))
  const claims = JSON.parse(text) as JsonObject
  return readClaims(claims, exampleIssuer(issuer), startSeconds * SECOND_MS)
}

/** For what JSON.stringify cannot write. */
function readText(text: string) {
  return readClaims(JSON.parse(text) as JsonObject, exampleIssuer(), startSeconds * SECOND_MS)
}

describe('the principal of good claims', () => {
  test('has the issuer, subject, tenant, groups, scopes, client and end of the credential', () => {
    expect(read({})).toEqual({
      kind: 'identified',
      principal: {
        issuer: issuerUrl,
        subject: 'alice',
        tenant: 'acme',
        groups: ['research'],
        scopes: ['chat', 'embed'],
        client: 'notebook',
        expiresAtEpochMs: (startSeconds + 600) * SECOND_MS,
      },
      validFromEpochMs: (startSeconds - 10 - 30) * SECOND_MS,
      validUntilEpochMs: (startSeconds + 600 + 30) * SECOND_MS,
    })
  })

  test.each([
    ['one of our audiences in a list', { aud: ['other', 'llm'] }, {}],
    ['twenty audiences', { aud: ['llm', ...Array.from({ length: 19 }, (_, i) => `a${i}`)] }, {}],
    ['a subject of 255 characters', { sub: 's'.repeat(255) }, { subject: 's'.repeat(255) }],
    ['a subject with an inner space', { sub: 'auth0|a b' }, { subject: 'auth0|a b' }],
    ['no groups', { groups: undefined }, { groups: [] }],
    ['one group as a string', { groups: 'research' }, { groups: ['research'] }],
    ['an empty list of groups', { groups: [] }, { groups: [] }],
    ['a group twice', { groups: ['a', 'b', 'a'] }, { groups: ['a', 'b'] }],
    ['a group named constructor', { groups: ['constructor'] }, { groups: ['constructor'] }],
    ['no scopes', { scope: undefined }, { scopes: [] }],
    ['an empty scope', { scope: '' }, { scopes: [] }],
    ['scp as a list', { scope: undefined, scp: ['a', 'b'] }, { scopes: ['a', 'b'] }],
    ['scp as a string', { scope: undefined, scp: 'a b' }, { scopes: ['a', 'b'] }],
    ['scope and scp that say the same', { scope: 'a b', scp: ['b', 'a'] }, { scopes: ['a', 'b'] }],
    ['azp alone', { client_id: undefined, azp: 'app' }, { client: 'app' }],
    ['client_id and azp that say the same', { azp: 'notebook' }, { client: 'notebook' }],
    ['no client', { client_id: undefined }, { client: undefined }],
    ['no iat', { iat: undefined }, {}],
    ['exp just within the tolerance', { exp: startSeconds - 29, iat: undefined }, {}],
    ['nbf just within the tolerance', { nbf: startSeconds + 30 }, {}],
    ['iat just within the tolerance', { iat: startSeconds + 30 }, {}],
    ['exp as far as allowed', { exp: startSeconds + day }, {}],
    ['a tenant of another script', { org: 'Zürich 株式会社' }, { tenant: 'Zürich 株式会社' }],
  ])('may have %s', (_, changes, expected) => {
    expect(read(changes)).toMatchObject({ kind: 'identified', principal: expected })
  })

  test('has the fixed tenant of its issuer, whatever its claims say', () => {
    const answer = read({ org: 'globex' }, { tenant: { kind: 'fixed', tenant: 'acme' } })
    expect(answer).toMatchObject({ principal: { tenant: 'acme' } })
  })

  test('has the claims that quotas count by, as far as the credential has them', () => {
    const answer = read(
      { department: 'physics', level: 3, contractor: false, deep: { cost: { centre: '0815' } } },
      {
        claims: [
          'department',
          'level',
          'contractor',
          'deep.cost.centre',
          'team',
          'constructor',
        ].map((name) => ({ name, as: 'value' })),
      },
    )
    if (answer.kind === 'denied') throw new Error('refused')
    expect(answer.principal.claims).toEqual(
      new Map<string, unknown>([
        ['department', 'physics'],
        ['level', 3],
        ['contractor', false],
        ['deep.cost.centre', '0815'],
      ]),
    )
  })

  test.each([
    ['null', null],
    ['a list', ['physics']],
    ['a mapping', { name: 'physics' }],
    ['an empty text', ''],
    ['a text with a line break', 'a\nb'],
    ['a text of 256 characters', 'x'.repeat(256)],
    ['a number that a double rounds', 2 ** 53],
  ])('is not there where a claim that quotas count by is %s', (_, department) => {
    expect(read({ department }, { claims: [{ name: 'department', as: 'value' }] })).toMatchObject({
      kind: 'denied',
      reason: 'claims_invalid',
      detail: 'claim department',
    })
    expect(read({ department })).toMatchObject({ kind: 'identified' })
  })

  test.each([
    ['count', [1, 500, Number.MAX_SAFE_INTEGER], [0, -1, 2.5, '500', null, true, [500], 2 ** 53]],
    ['money', [0.000001, 2.5, 25], [0, -1, '2.5', null, true, 0.0000001, 1e9]],
  ] as const)('has a limit of %s only where it is one', (as, limits, others) => {
    const claims = [{ name: 'quota', as }]
    for (const quota of limits) {
      const answer = read({ quota }, { claims })
      if (answer.kind === 'denied') throw new Error('refused')
      expect(answer.principal.claims?.get('quota')).toBe(quota)
    }
    for (const quota of others) {
      expect(read({ quota }, { claims })).toMatchObject({ kind: 'denied', detail: 'claim quota' })
    }
    expect(read({}, { claims })).toMatchObject({ kind: 'identified' })
  })

  test('has no claim that is read as a value and as a limit, and is only one of them', () => {
    const claims = [
      { name: 'quota', as: 'count' },
      { name: 'quota', as: 'value' },
    ] as const
    expect(read({ quota: 'gold' }, { claims })).toMatchObject({ kind: 'denied' })
    expect(read({ quota: 7 }, { claims })).toMatchObject({ kind: 'identified' })
  })

  test('takes tenant and groups from inside other claims', () => {
    const answer = read(
      { resource: { org: 'deep' }, realm_access: { roles: ['a', 'b'] } },
      { tenant: { kind: 'claim', claim: 'resource.org' }, groupsClaim: 'realm_access.roles' },
    )
    expect(answer).toMatchObject({ principal: { tenant: 'deep', groups: ['a', 'b'] } })
  })

  test('takes the tenant from a claim whose name holds dots', () => {
    const name = 'https://acme.example/org'
    const answer = read({ [name]: 'whole' }, { tenant: { kind: 'claim', claim: name } })
    expect(answer).toMatchObject({ principal: { tenant: 'whole' } })
  })

  test('is in no group when the issuer has no groups claim', () => {
    expect(read({}, { groupsClaim: undefined })).toMatchObject({ principal: { groups: [] } })
  })
})

describe('claims_invalid names the claim', () => {
  const dates = ['', 'soon', String(startSeconds + 600), -1, 0, true, [], {}, startSeconds + 0.5]
  const noNames = ['', ' ', 1, true, null, [], {}, ['alice'], 'a\nb', 'a\0', 'a\u200b', ' a', 'a ']
  const cases: [claim: string, value: unknown][] = [
    ...[...dates, null, undefined, 253_402_300_800, 1e21, 1e308].map((value): [string, unknown] => [
      'exp',
      value,
    ]),
    ['exp', startSeconds + day + 31],
    ...[...dates, null].map((value): [string, unknown] => ['nbf', value]),
    ...[...dates, null].map((value): [string, unknown] => ['iat', value]),
    ['iat', startSeconds + 601],
    ['nbf', startSeconds + 601],
    ...[...noNames, undefined, 1e21, 's'.repeat(256), 'a\u202eb', '\ud800', 'a\u2028'].map(
      (value): [string, unknown] => ['sub', value],
    ),
    ...[undefined, '', [], ['llm', 1], ['llm', ['llm']], ['llm', null], ['llm', ''], {}].map(
      (value): [string, unknown] => ['aud', value],
    ),
    ['aud', { llm: true }],
    ['aud', ['llm', ...Array.from({ length: 20 }, (_, i) => `a${i}`)]],
    ...[...noNames, undefined, '*', 'a/b', '../a', '..', '.', 'a\\b', 'acme*', 't'.repeat(256)].map(
      (value): [string, unknown] => ['org', value],
    ),
    ...['', 1, null, {}, [1], ['a', ''], [['a']], ['a\n'], Array(257).fill('a')].map(
      (value): [string, unknown] => ['groups', value],
    ),
    ...[1, null, {}, ['chat'], ' a', 'a ', 'a  b', 'a\tb', 'a"b', 'é'].map(
      (value): [string, unknown] => ['scope', value],
    ),
    ['scope', Array.from({ length: 257 }, (_, i) => `s${i}`).join(' ')],
    ...noNames.map((value): [string, unknown] => ['client_id', value]),
    ['iss', [issuerUrl]],
    ['iss', `${issuerUrl}/`],
    ['iss', undefined],
    ['events', { 'http://schemas.openid.net/event/backchannel-logout': {} }],
  ]

  test.each(cases)('%s: %j', (claim, value) => {
    const answer = read({ [claim]: value })
    expect(answer).toMatchObject({ kind: 'denied', reason: 'claims_invalid' })
    expect(answer).toHaveProperty('detail', `claim ${claim}`)
    expect(answer).toHaveProperty('message', expect.stringContaining(`"${claim}"`))
  })

  test('when exp is beyond every number', () => {
    const text = JSON.stringify(goodClaims({ exp: 'here' })).replace('"here"', '1e999')
    expect(readText(text)).toMatchObject({ reason: 'claims_invalid', detail: 'claim exp' })
  })

  test.each([
    ['scp beside another scope', { scp: ['chat'] }, 'scope'],
    ['scp of a wrong type', { scope: undefined, scp: 1 }, 'scope'],
    ['scp with a space in a scope', { scope: undefined, scp: ['a b'] }, 'scope'],
    ['scp with an empty scope', { scope: undefined, scp: [''] }, 'scope'],
    ['azp of a wrong type', { azp: 7 }, 'client_id'],
    ['azp that is another client', { azp: 'other' }, 'client_id'],
  ])('when there is %s', (_, changes, claim) => {
    expect(read(changes)).toMatchObject({ reason: 'claims_invalid', detail: `claim ${claim}` })
  })

  test('when the path of the tenant leads through a string, an array or an inherited name', () => {
    for (const claim of ['sub.org', 'groups.length', 'groups.0', 'constructor.name', 'toString']) {
      const answer = read({}, { tenant: { kind: 'claim', claim } })
      expect(answer).toMatchObject({ reason: 'claims_invalid', detail: `claim ${claim}` })
    }
  })

  test('when the path of the groups leads through a string', () => {
    const answer = read({}, { groupsClaim: 'sub.roles' })
    expect(answer).toMatchObject({ reason: 'claims_invalid', detail: 'claim sub.roles' })
  })

  test('without the value of any claim', () => {
    const secrets = {
      sub: 'canary-1\n',
      org: 'canary-2*',
      groups: ['canary-3', 1],
      azp: 'canary-4',
    }
    for (const [claim, value] of Object.entries(secrets)) {
      expect(JSON.stringify(read({ [claim]: value }))).not.toContain('canary')
    }
  })
})

describe('refuses', () => {
  test.each([
    ['another audience', { aud: 'other' }],
    ['a longer audience', { aud: 'llm2' }],
    ['a shorter audience', { aud: 'll' }],
    ['an audience in another case', { aud: 'LLM' }],
    ['our audience with a slash', { aud: 'llm/' }],
    ['a list of other audiences', { aud: ['a', 'b', 'llm-admin'] }],
  ])('%s', (_, changes) => {
    expect(read(changes)).toMatchObject({
      reason: 'audience_mismatch',
      message:
        'The credential is meant for another service. Ask its issuer for one with the audience of this one.',
    })
  })

  test.each([
    ['at the end of the tolerance', startSeconds - 30],
    ['long ago', 1],
  ])('a credential that expired %s', (_, exp) => {
    expect(read({ exp, iat: undefined })).toMatchObject({
      reason: 'credential_expired',
      message: 'Get a new credential: this one has expired.',
    })
  })

  test.each([
    ['nbf', { nbf: startSeconds + 31 }],
    ['iat', { iat: startSeconds + 31 }],
  ])('a credential whose %s is ahead of the tolerance', (_, changes) => {
    expect(read(changes)).toMatchObject({
      reason: 'credential_not_yet_valid',
      message: 'The credential is not valid yet. Wait, or check the clock of its issuer.',
    })
  })

  test.each([[{ jkt: 'abc' }], [{}], [null], ['x']])('a credential bound to a key: %j', (cnf) => {
    expect(read({ cnf })).toMatchObject({ reason: 'credential_bound' })
  })
})
