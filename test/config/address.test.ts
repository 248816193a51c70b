import { expect, test } from 'vitest'
import { formatAddress, isLocal, isLoopbackHost, parseAddress } from '../../src/config/address.js'

test.each(['unix:///run/a.sock', '127.0.0.1:9192', '[::1]:0', 'envoy.llm.svc:65535'])(
  'reads %s and writes it the same way',
  (text) => {
    const address = parseAddress(text)
    expect(address).toBeDefined()
    expect(address && formatAddress(address)).toBe(text)
  },
)

test.each([
  '',
  '9192',
  ':9192',
  'host:',
  'host:65536',
  'host:-1',
  '::1:9192',
  '[::1]',
  '[localhost]:1',
  'unix:run.sock',
  'unix://run.sock',
  'unix:///',
  `unix:///${'a'.repeat(103)}`,
  'http://127.0.0.1:9192',
])('refuses %j', (text) => {
  expect(parseAddress(text)).toBeUndefined()
})

test.each(['127.0.0.1', '127.9.9.9', '::1', '[::1]', 'localhost'])('%s is loopback', (host) => {
  expect(isLoopbackHost(host)).toBe(true)
})

test.each([
  '0.0.0.0',
  '::',
  '10.0.0.1',
  '128.0.0.1',
  'localhost.example.com',
  '::ffff:10.0.0.1',
  '',
])('%j is not loopback', (host) => {
  expect(isLoopbackHost(host)).toBe(false)
})

test('a Unix socket is local, a name that could resolve to anything is not', () => {
  expect(isLocal({ kind: 'unix', path: '/run/a.sock' })).toBe(true)
  expect(isLocal({ kind: 'tcp', host: 'tollgate', port: 1 })).toBe(false)
})
