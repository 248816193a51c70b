import { X509Certificate } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { Client, credentials } from '@grpc/grpc-js'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createCertificates, envoyIdentity } from '../deploy/demo/certificates.js'
import type { DemoCertificates } from '../deploy/demo/certificates.js'
import { formatAddress } from '../src/config/address.js'
import { authorizationService } from '../src/envoy/protos.js'
import { listen } from '../src/listen.js'
import type { Listener } from '../src/listen.js'
import { check } from './as-envoy.js'

let directory: string
/** Two authorities: each has issued a certificate of Tollgate's and one of Envoy's. */
let old: DemoCertificates
let fresh: DemoCertificates
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-grpc-tls-'))
  const makeIn = async (name: string) => {
    mkdirSync(join(directory, name))
    return createCertificates(join(directory, name), ['server'])
  }
  ;[old, fresh] = [await makeIn('old'), await makeIn('fresh')]
})
afterAll(() => {
  rmSync(directory, { recursive: true })
})

const at = (name: string): string => join(directory, name)
const files = () => ({
  certFile: at('tls.crt'),
  keyFile: at('tls.key'),
  clientCaFile: at('ca.crt'),
})

function put(from: DemoCertificates, what: 'all' | 'key' | 'authority'): void {
  const server = from.nodes.get('server')
  if (server === undefined) throw new Error('it has a server')
  if (what === 'all') copyFileSync(server.certificateFile, files().certFile)
  if (what !== 'authority') copyFileSync(server.keyFile, files().keyFile)
  if (what !== 'key') copyFileSync(from.authorityFile, files().clientCaFile)
}

const authorityOf = ({ authorityFile }: DemoCertificates): string =>
  `${readFileSync(authorityFile, 'utf8').trimEnd()}\n`

let listener: Listener
const closings: (() => unknown)[] = []
beforeEach(async () => {
  put(old, 'all')
  listener = await start()
})
afterEach(async () => {
  for (const close of closings.splice(0).reverse()) await close()
})

async function start(): Promise<Listener> {
  const started = await listen({
    address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    tls: { ...files(), allowedSans: [envoyIdentity] },
    maxBodyBytes: 1000,
    maxConcurrentStreams: 7,
    addServices: (server) => {
      server.addService(authorizationService, {
        Check: (_call: unknown, callback: (error: null, value: unknown) => void) => {
          callback(null, {
            status: { code: 0 },
            okResponse: { headers: [], headersToRemove: [], responseHeadersToAdd: [] },
            dynamicMetadata: { fields: {} },
          })
        },
      })
    },
  })
  closings.push(() => started.stop(0))
  return started
}

/** A peer that knows one of the authorities and bears a certificate of one; whether its call is answered. */
function peer(knows: DemoCertificates, bears: DemoCertificates): () => Promise<boolean> {
  const channel = credentials.createSsl(
    readFileSync(knows.authorityFile),
    readFileSync(bears.envoy.keyFile),
    readFileSync(bears.envoy.certificateFile),
    { checkServerIdentity: () => undefined },
  )
  // A connection of its own, or it would be served by that of an earlier one.
  const client = new Client(formatAddress(listener.address), channel, {
    'grpc.use_local_subchannel_pool': 1,
  })
  closings.push(() => {
    client.close()
  })
  return async () => typeof (await check(client, { attributes: {} })) !== 'number'
}

const same = { kind: 'same' }
const renewed = { kind: 'renewed' }

test('what has changed is taken once it stands still, for connections from then on', async () => {
  const standing = peer(old, old)
  expect(await standing()).toBe(true)
  expect(listener.lookAtTls()).toEqual(same)
  put(fresh, 'all')
  expect(listener.lookAtTls()).toEqual(same)
  expect(await peer(old, old)()).toBe(true)
  expect(listener.lookAtTls()).toEqual(renewed)
  expect(listener.lookAtTls()).toEqual(same)
  expect(await peer(fresh, fresh)()).toBe(true)
  expect(await peer(old, fresh)()).toBe(false)
  expect(await peer(fresh, old)()).toBe(false)
  expect(await standing()).toBe(true)
})

test('an authority alone can change', async () => {
  put(fresh, 'authority')
  listener.lookAtTls()
  expect(listener.lookAtTls()).toEqual(renewed)
  expect(await peer(old, fresh)()).toBe(true)
  expect(await peer(old, old)()).toBe(false)
})

test('a bundle of several is taken', async () => {
  writeFileSync(files().clientCaFile, `a comment\n${authorityOf(fresh)}\n${authorityOf(fresh)}`)
  listener.lookAtTls()
  expect(listener.lookAtTls()).toEqual(renewed)
  expect(await peer(old, fresh)()).toBe(true)
})

test('of files of which OpenSSL reads nothing, or that begin with the mark of UTF-8, all is used', async () => {
  const { certFile, clientCaFile } = files()
  writeFileSync(clientCaFile, `-----BEGIN my CA-----\n${authorityOf(fresh)}`)
  writeFileSync(certFile, `\uFEFF${readFileSync(certFile, 'utf8')}`)
  listener.lookAtTls()
  expect(listener.lookAtTls()).toEqual(renewed)
  expect(await peer(old, fresh)()).toBe(true)
  await listener.stop(0)
  listener = await start()
  expect(await peer(old, fresh)()).toBe(true)
})

test('what changes between two looks waits for the next', async () => {
  put(fresh, 'key')
  expect(listener.lookAtTls()).toEqual(same)
  put(fresh, 'all')
  expect(listener.lookAtTls()).toEqual(same)
  expect(listener.lookAtTls()).toEqual(renewed)
})

test.each<[string, () => void, RegExp]>([
  ['a key of another certificate', () => put(fresh, 'key'), /^ERR_OSSL_X509_KEY_VALUES_MISMATCH$/],
  [
    'a file that is gone',
    () => {
      rmSync(files().certFile)
    },
    /^ENOENT$/,
  ],
  [
    'no certificate of an authority',
    () => {
      writeFileSync(files().clientCaFile, 'secret')
    },
    /^no certificate in PEM$/,
  ],
  [
    'an authority in DER',
    () => {
      writeFileSync(files().clientCaFile, new X509Certificate(authorityOf(fresh)).raw)
    },
    /^no certificate in PEM$/,
  ],
  [
    'a second authority that is broken',
    () => {
      const broken = authorityOf(fresh).replace(/\n[^\n]+\n/, '\nMIIB\n')
      writeFileSync(files().clientCaFile, authorityOf(fresh) + broken)
    },
    /^a certificate that cannot be read$/,
  ],
  [
    'two authorities of which one begins where the other ends',
    () => {
      writeFileSync(files().clientCaFile, authorityOf(fresh).trimEnd() + authorityOf(fresh))
    },
    /^the begin or end of a certificate that is not a line of its own$/,
  ],
  [
    'a second authority that is cut off',
    () => {
      const cut = authorityOf(fresh).slice(0, 100)
      writeFileSync(files().clientCaFile, authorityOf(fresh) + cut)
    },
    /^a certificate without an end$/,
  ],
  [
    'half of a chain',
    () => {
      const { certFile } = files()
      writeFileSync(
        certFile,
        `${readFileSync(certFile, 'utf8')}\n-----BEGIN CERTIFICATE-----\nMIIB`,
      )
    },
    /^a certificate without an end$/,
  ],
  [
    'half a key',
    () => {
      writeFileSync(files().keyFile, readFileSync(files().keyFile).subarray(0, 60))
    },
    /^ERR_OSSL_\w+$/,
  ],
])('%s is told once, and what was good stays', async (_what, spoil, reason) => {
  spoil()
  expect(listener.lookAtTls()).toEqual(same)
  expect(listener.lookAtTls()).toEqual({
    kind: 'refused',
    reason: expect.stringMatching(reason) as string,
  })
  expect(listener.lookAtTls()).toEqual(same)
  expect(await peer(old, old)()).toBe(true)
  put(fresh, 'all')
  listener.lookAtTls()
  expect(listener.lookAtTls()).toEqual(renewed)
  expect(await peer(fresh, fresh)()).toBe(true)
})

test('nobody without a certificate of the authority comes past the handshake', async () => {
  const { address } = listener
  if (address.kind !== 'tcp') throw new Error('it listens on a port')
  const first = async (bears: DemoCertificates | undefined) =>
    new Promise<string>((resolve) => {
      const pair = bears && {
        key: readFileSync(bears.envoy.keyFile),
        cert: readFileSync(bears.envoy.certificateFile),
      }
      const trust = { ca: readFileSync(old.authorityFile), checkServerIdentity: () => undefined }
      const { port } = address
      const socket = connect({ port, host: '127.0.0.1', ALPNProtocols: ['h2'], ...trust, ...pair })
      closings.push(() => socket.destroy())
      // The server speaks first, once it has accepted: its settings.
      socket.once('data', () => {
        resolve('accepted')
      })
      socket.once('error', () => {
        resolve('refused')
      })
      socket.once('close', () => {
        resolve('refused')
      })
    })
  expect(await first(old)).toBe('accepted')
  expect(await first(fresh)).toBe('refused')
  expect(await first(undefined)).toBe('refused')
})

test('a start fails with files that cannot be used', async () => {
  put(fresh, 'key')
  await expect(start()).rejects.toMatchObject({ code: 'ERR_OSSL_X509_KEY_VALUES_MISMATCH' })
  rmSync(files().keyFile)
  await expect(start()).rejects.toMatchObject({ code: 'ENOENT' })
})

test('without TLS there is nothing to look at', async () => {
  const plain = await listen({
    address: { kind: 'unix', path: at('grpc.sock') },
    tls: undefined,
    maxBodyBytes: 1000,
    maxConcurrentStreams: 7,
    addServices: () => undefined,
  })
  closings.push(() => plain.stop(0))
  expect(plain.lookAtTls()).toEqual(same)
})
