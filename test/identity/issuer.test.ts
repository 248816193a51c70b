import { describe, expect, test } from 'vitest'
import { issuerFaults, providerUrlFault, signatureAlgorithms } from '../../src/identity/issuer.js'
import type { Issuer } from '../../src/identity/issuer.js'
import { exampleIssuer } from './identity-fixture.js'

test('no algorithm is none or symmetric', () => {
  expect(signatureAlgorithms.filter((alg) => !/^(?:RS|PS|ES)\d{3}$|^Ed/.test(alg))).toEqual([])
})

describe('issuers taken together', () => {
  const withTenant = (issuer: string, tenant: Issuer['tenant']) => exampleIssuer({ issuer, tenant })
  const open = { kind: 'claim', claim: 'org' } as const

  test('one may name any tenant', () => {
    expect(issuerFaults([withTenant('https://a', open)])).toEqual([])
  })

  test('several name only tenants that are listed, or one each', () => {
    const issuers = [
      withTenant('https://a', { ...open, allowed: ['acme'] }),
      withTenant('https://b', { kind: 'fixed', tenant: 'globex' }),
    ]
    expect(issuerFaults(issuers)).toEqual([])
  })

  test('one of several that could name another one’s tenant is a fault', () => {
    const issuers = [
      withTenant('https://a', { kind: 'fixed', tenant: 'acme' }),
      withTenant('https://b', open),
    ]
    expect(issuerFaults(issuers)).toEqual([
      {
        index: 1,
        key: 'tenant.allowed',
        expected:
          'the list of tenants that this issuer may name, since there is more than one issuer',
      },
    ])
  })

  test('one that is listed twice is a fault', () => {
    const issuer = withTenant('https://a', { kind: 'fixed', tenant: 'acme' })
    expect(issuerFaults([issuer, issuer])).toEqual([
      { index: 1, key: 'issuer', expected: 'an issuer that is listed once' },
    ])
  })
})

describe('the address of a provider', () => {
  test.each([
    ['https://idp.test', false],
    ['https://idp.test:8443/realms/ml/', false],
    ['https://10.0.0.1/keys', false],
    ['http://127.0.0.1:9000', true],
    ['http://127.9.9.9', true],
    ['http://localhost:9000', true],
    ['http://[::1]:9000', true],
    // The URL standard reads these as 127.0.0.1 too.
    ['http://2130706433', true],
    ['http://0x7f.1', true],
  ])('may be %s (insecureHttp %s)', (url, insecureHttp) => {
    expect(providerUrlFault(url, insecureHttp)).toBeUndefined()
  })

  test.each([
    ['', false, 'is not a URL'],
    ['idp.test', false, 'is not a URL'],
    ['/keys', false, 'is not a URL'],
    ['http://127.0.0.1', false, 'is http, which needs insecureHttp'],
    ['http://idp.test', true, 'is http to an address that is not loopback'],
    ['http://10.0.0.1', true, 'is http to an address that is not loopback'],
    ['http://127.0.0.1.evil.test', true, 'is http to an address that is not loopback'],
    ['http://localhost.evil.test', true, 'is http to an address that is not loopback'],
    ['http://0.0.0.0', true, 'is http to an address that is not loopback'],
    ['ftp://idp.test', true, 'is not https'],
    ['file:///etc/passwd', true, 'is not https'],
    ['data:application/json,{}', true, 'is not https'],
    ['https://user@idp.test', false, 'holds a user name or password'],
    ['https://user:pass@idp.test', false, 'holds a user name or password'],
    ['http://127.0.0.1@evil.test', true, 'holds a user name or password'],
    ['https://idp.test/#x', false, 'has a fragment'],
    ['https://idp.test/#', false, 'has a fragment'],
  ])('may not be %s (insecureHttp %s): it %s', (url, insecureHttp, fault) => {
    expect(providerUrlFault(url, insecureHttp)).toBe(fault)
  })
})
