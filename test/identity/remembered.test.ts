import { createHash } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { createIdentity } from '../../src/identity/authenticate.js'
import {
  createFakeClock,
  createFakeProvider,
  createPair,
  exampleIssuer,
  issuerUrl,
  sign,
} from './identity-fixture.js'

/** Every key under which anything was remembered. */
const keys = vi.hoisted(() => new Set<string>())

vi.mock(import('../../src/identity/expiring-map.js'), async (importOriginal) => {
  const { createExpiringMap } = await importOriginal()
  return {
    createExpiringMap(options) {
      const map = createExpiringMap<never>(options)
      return {
        ...map,
        set(key: string, value: never) {
          keys.add(key)
          map.set(key, value)
        },
      }
    },
  }
})

test('a credential is remembered by its hash, whether it is good or forged: a dump of memory holds none', async () => {
  const pair = await createPair('ES256', 'k1')
  const provider = createFakeProvider(issuerUrl, [pair.publicJwk])
  const identity = createIdentity({
    clock: createFakeClock(),
    random: () => 0.5,
    fetch: provider.fetch,
    everySecond: () => () => undefined,
  })
  const authenticator = identity.use([exampleIssuer()])
  const good = await sign(pair)
  const forged = await sign({ ...(await createPair('ES256', 'k1')), kid: 'k1' })
  expect(await authenticator.authenticate(good)).toMatchObject({ subject: 'alice' })
  expect(await authenticator.authenticate(forged)).toMatchObject({ reason: 'credential_invalid' })
  const hashes = [good, forged].map((credential) =>
    createHash('sha256').update(credential).digest('base64'),
  )
  expect([...keys]).toEqual(hashes)
  identity.close()
})
