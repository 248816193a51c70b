import { describe, expect, test } from 'vitest'
import { issuersFault, providerUrlFault, signatureAlgorithms } from '../../src/identity/issuer.js'
import type { Issuer } from '../../src/identity/issuer.js'
import { exampleIssuer } from './identity-fixture.js'

test('no algorithm is none or symmetric', () => {
  expect(signatureAlgorithms.filter((alg) => !/^(?:RS|PS|ES)\d{3}$|^Ed/.test(alg))).toEqual([])
})

describe('issuers taken together', () => {
  const claimed = (issuer: string) =>
    exampleIssuer({ issuer, tenant: { kind: 'claim', claim: 'org' } })
  const fixed = (issuer: string, tenant: string) =>
    exampleIssuer({ issuer, tenant: { kind: 'fixed', tenant } })

  test.each<[string, Issuer[]]>([
    ['none', []],
    ['one whose claim names the tenant', [claimed('https://a')]],
    ['several with a tenant each', [fixed('https://a', 'acme'), fixed('https://b', 'globex')]],
  ])('may be %s', (_, issuers) => {
    expect(issuersFault(issuers)).toBeUndefined()
  })

  test.each<[string, Issuer[], string]>([
    [
      'two, of which one could name the tenant of the other',
      [fixed('https://a', 'acme'), claimed('https://b')],
      'one of several issuers takes its tenant from a claim',
    ],
    [
      'two of one tenant, which could make up each other’s subjects',
      [fixed('https://a', 'acme'), fixed('https://b', 'acme')],
      'two issuers share a tenant',
    ],
    [
      'one that is listed twice',
      [fixed('https://a', 'acme'), fixed('https://a', 'globex')],
      'an issuer is listed twice',
    ],
  ])('may not be %s', (_, issuers, fault) => {
    expect(issuersFault(issuers)).toBe(fault)
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
