import type { LookupAddress, LookupOptions } from 'node:dns'
import { expect, test, vi } from 'vitest'
import { fetchJson } from '../../src/identity/fetch-json.js'

/** What every name leads to: an attacker who owns a name answers for it as he likes. */
let addresses: LookupAddress[] = []

vi.mock('node:dns', async (importOriginal) => ({
  ...(await importOriginal<object>()),
  lookup: (
    _name: string,
    _options: LookupOptions,
    callback: (error: Error | null, addresses: LookupAddress[]) => void,
  ) => {
    callback(null, addresses)
  },
}))

const fetchFrom = (url: string) =>
  fetchJson({
    url: new URL(url),
    caFile: undefined,
    maxBytes: 1024,
    timeoutMs: 5000,
    signal: new AbortController().signal,
  })

test.each([
  ['https://idp.test/', ['169.254.169.254']],
  ['https://idp.test/', ['127.0.0.1', '169.254.169.254']],
  ['https://idp.test/', ['fe80::1']],
  ['http://localhost/', ['10.0.0.1']],
  ['http://localhost/', ['127.0.0.1', '10.0.0.1']],
  ['http://localhost/', []],
])('%s is not connected to when its name leads to %j', async (url, leadsTo) => {
  addresses = leadsTo.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  await expect(fetchFrom(url)).rejects.toThrow(
    'the name leads to an address that an identity provider cannot have',
  )
})

test('a name that leads where it may is connected to', async () => {
  addresses = [{ address: '127.0.0.1', family: 4 }]
  // Port 1: nobody listens there, and that is found out only by connecting.
  await expect(fetchFrom('http://localhost:1/')).rejects.toThrow('ECONNREFUSED')
})
