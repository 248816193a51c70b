import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { fetchJson } from '../../src/identity/fetch-json.js'
import type { FetchRequest } from '../../src/identity/fetch-json.js'
import { createSelfSigned } from './self-signed.js'

const maxBytes = 1024
const servers: { server: Server; sockets: Set<Socket> }[] = []

afterEach(() => {
  for (const { server, sockets } of servers.splice(0)) {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
})

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  servers.push({ server, sockets })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

const serve = async (listener: RequestListener) => listen(createHttpServer(listener))

function get(url: string, changes: Partial<FetchRequest> = {}): Promise<Uint8Array> {
  return fetchJson({
    url: new URL(url),
    caFile: undefined,
    maxBytes,
    timeoutMs: 5000,
    signal: new AbortController().signal,
    ...changes,
  })
}

const json = { 'content-type': 'application/json' }

describe('over http to loopback', () => {
  test.each([
    'application/json',
    'application/json; charset=utf-8',
    'application/jwk-set+json',
    'Application/JSON',
  ])('reads a document of the type %s', async (type) => {
    const asked: unknown[] = []
    const port = await serve((request, response) => {
      asked.push([request.method, request.url, request.headers['accept-encoding']])
      response.writeHead(200, { 'content-type': type }).end('{"a":1}')
    })
    const body = await get(`http://127.0.0.1:${String(port)}/keys?x=1`)
    expect(Buffer.from(body).toString()).toBe('{"a":1}')
    expect(asked).toEqual([['GET', '/keys?x=1', 'identity']])
  })

  test('looks a name up, and may connect when it is loopback', async () => {
    const port = await serve((_, response) => response.writeHead(200, json).end('{}'))
    expect((await get(`http://localhost:${String(port)}/`)).length).toBe(2)
  })

  test('reads exactly as many bytes as allowed', async () => {
    const port = await serve((_, response) => {
      response.writeHead(200, json).end('a'.repeat(maxBytes))
    })
    expect((await get(`http://127.0.0.1:${String(port)}/`)).length).toBe(maxBytes)
  })

  const refusals: [string, RequestListener, string | RegExp][] = [
    ['an error', (_, response) => response.writeHead(500, json).end('{}'), 'HTTP status 500'],
    ['204', (_, response) => response.writeHead(204).end(), 'HTTP status 204'],
    [
      'HTML',
      (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('{}'),
      'the answer is not JSON',
    ],
    [
      'a type that only begins like JSON',
      (_, response) => response.writeHead(200, { 'content-type': 'application/jsonp' }).end('{}'),
      'the answer is not JSON',
    ],
    ['no type', (_, response) => response.writeHead(200).end('{}'), 'the answer is not JSON'],
    [
      'a compressed answer',
      (_, response) => response.writeHead(200, { ...json, 'content-encoding': 'gzip' }).end('x'),
      'the answer is compressed, unasked',
    ],
    [
      'a length that is too much',
      (_, response) => response.writeHead(200, { ...json, 'content-length': '1025' }).write('{'),
      'the answer is longer than 1 KiB',
    ],
    [
      'a body that is too much, in chunks without a length',
      (_, response) => {
        response.writeHead(200, json)
        for (let chunk = 0; chunk < 100; chunk++) response.write('a'.repeat(1000))
        response.end()
      },
      'the answer is longer than 1 KiB',
    ],
    [
      'an answer that breaks off',
      (request, response) => {
        response.writeHead(200, { ...json, 'content-length': '10' }).write('{')
        setImmediate(() => request.socket.destroy())
      },
      // Which of the two Node says first is its own affair.
      /aborted|the connection closed before the answer was complete/,
    ],
    ['a connection that breaks off', (request) => request.socket.destroy(), 'socket hang up'],
  ]

  test.each(refusals)('refuses %s', async (_, listener, reason) => {
    const port = await serve(listener)
    await expect(get(`http://127.0.0.1:${String(port)}/`)).rejects.toThrow(reason)
  })

  test('follows no redirect', async () => {
    const asked: (string | undefined)[] = []
    const port = await serve((request, response) => {
      asked.push(request.url)
      if (request.url === '/moved') response.writeHead(200, json).end('{}')
      else response.writeHead(302, { location: '/moved' }).end()
    })
    await expect(get(`http://127.0.0.1:${String(port)}/`)).rejects.toThrow('HTTP status 302')
    expect(asked).toEqual(['/'])
  })

  test('gives up on an answer that drips, and closes the connection', async () => {
    let closed: Promise<unknown> | undefined
    const port = await serve((_, response) => {
      response.writeHead(200, json)
      const drip = setInterval(() => response.write('a'), 5)
      closed = new Promise((resolve) => {
        response.on('close', () => {
          clearInterval(drip)
          resolve(undefined)
        })
      })
    })
    const answer = get(`http://127.0.0.1:${String(port)}/`, { timeoutMs: 60 })
    await expect(answer).rejects.toThrow('no complete answer within 60 ms')
    await closed
  })

  test('gives up on a server that never answers', async () => {
    const port = await serve(() => {})
    const answer = get(`http://127.0.0.1:${String(port)}/`, { timeoutMs: 30 })
    await expect(answer).rejects.toThrow('no complete answer within 30 ms')
  })

  test('is aborted', async () => {
    const abort = new AbortController()
    const port = await serve(() => {
      abort.abort()
    })
    const answer = get(`http://127.0.0.1:${String(port)}/`, { signal: abort.signal })
    await expect(answer).rejects.toThrow('aborted')
  })

  test('says that nobody listens', async () => {
    const port = await serve(() => {})
    const last = servers.at(-1)
    await new Promise((resolve) => last?.server.close(resolve))
    await expect(get(`http://127.0.0.1:${String(port)}/`)).rejects.toThrow('ECONNREFUSED')
  })
})

describe('never connects', () => {
  test.each([
    'http://10.0.0.1/',
    'http://192.0.2.1/',
    'http://[2001:db8::1]/',
    'https://169.254.169.254/latest/meta-data/',
    'https://[fe80::1]/',
    'https://[::ffff:169.254.169.254]/',
    'https://[fd00:ec2::254]/',
    'https://100.100.100.200/',
    'https://168.63.129.16/',
  ])('to %s', async (url) => {
    await expect(get(url)).rejects.toThrow(
      'the address is not one that an identity provider can have',
    )
  })
})

describe('over https', () => {
  let directory: string
  let caFile: string
  const { key, cert } = createSelfSigned()

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'identity-'))
    caFile = join(directory, 'ca.pem')
    await writeFile(caFile, cert)
  })

  afterAll(async () => {
    await rm(directory, { recursive: true })
  })

  const serveTls = async () =>
    listen(
      createHttpsServer({ key, cert }, (_, response) => response.writeHead(200, json).end('{}')),
    )

  test('trusts the authority of the file', async () => {
    const port = await serveTls()
    expect((await get(`https://127.0.0.1:${String(port)}/`, { caFile })).length).toBe(2)
  })

  test('trusts the authority of the file, whatever else is in it', async () => {
    const port = await serveTls()
    const bundle = join(directory, 'bundle.pem')
    // Of this OpenSSL reads nothing.
    await writeFile(bundle, `-----BEGIN my CA-----\n${cert}`)
    const answer = await get(`https://127.0.0.1:${String(port)}/`, { caFile: bundle })
    expect(answer.length).toBe(2)
  })

  test('trusts nobody by a file of which one certificate cannot be read', async () => {
    const port = await serveTls()
    const broken = join(directory, 'broken.pem')
    await writeFile(broken, `${cert}-----BEGIN CERTIFICATE-----\n`)
    const answer = get(`https://127.0.0.1:${String(port)}/`, { caFile: broken })
    await expect(answer).rejects.toThrow('a certificate without an end')
  })

  test('trusts no stranger', async () => {
    const port = await serveTls()
    const answer = get(`https://127.0.0.1:${String(port)}/`)
    await expect(answer).rejects.toThrow('self-signed certificate')
  })

  test('trusts no certificate of another name', async () => {
    const port = await serveTls()
    const answer = get(`https://localhost:${String(port)}/`, { caFile })
    await expect(answer).rejects.toThrow('Hostname/IP does not match')
  })

  test('says that the file is not there', async () => {
    const missing = join(directory, 'missing.pem')
    await expect(get('https://127.0.0.1:1/', { caFile: missing })).rejects.toThrow('ENOENT')
  })
})
