import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:http2'
import type { ClientHttp2Session } from 'node:http2'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, getChannelzHandlers, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { formatAddress } from '../src/config/address.js'
import type { ListenAddress } from '../src/config/address.js'
import { authorizationService } from '../src/envoy/protos.js'
import type { CheckRequest } from '../src/envoy/wire.js'
import { channelOptions, listen } from '../src/listen.js'
import type { Listener } from '../src/listen.js'
import { removeStaleSocket } from '../src/stale-socket.js'

const KIB_BYTES = 1024
const bodyCapBytes = 100 * KIB_BYTES

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tollgate-listen-'))
  return () => {
    rmSync(directory, { recursive: true })
  }
})

const closings: (() => unknown)[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const close of closings.splice(0).reverse()) await close()
})

interface Rig {
  readonly path: string
  readonly listener: Listener
  /** One Check whose body has so many bytes, beside so many bytes of other things. */
  check(bodyBytes: number, otherBytes?: number): Promise<ServiceError | null>
  /** Checks that have reached the service. */
  readonly arrived: CheckRequest[]
}

let sockets = 0

/** The listener with a service that answers at once, or never. */
async function rig(
  options: { answers?: 'at once' | 'never'; address?: ListenAddress } = {},
): Promise<Rig> {
  const { answers = 'at once' } = options
  const path = join(directory, `${String((sockets += 1))}.sock`)
  const address: ListenAddress =
    options.address?.kind === 'tcp' ? options.address : { kind: 'unix', path }
  const arrived: CheckRequest[] = []
  const listener = await listen({
    address,
    tls: undefined,
    maxBodyBytes: bodyCapBytes,
    maxConcurrentStreams: 7,
    addServices: (server) => {
      server.addService(authorizationService, {
        Check: (
          call: { request: CheckRequest },
          callback: (error: null, value: unknown) => void,
        ) => {
          arrived.push(call.request)
          if (answers === 'at once') {
            callback(null, {
              status: { code: 0 },
              okResponse: { headers: [], headersToRemove: [], responseHeadersToAdd: [] },
              dynamicMetadata: { fields: {} },
            })
          }
        },
      })
    },
  })
  closings.push(() => listener.stop(0))
  const client = new Client(formatAddress(listener.address), credentials.createInsecure(), {
    'grpc.max_send_message_length': -1,
  })
  closings.push(() => {
    client.close()
  })
  const { path: method, requestSerialize, responseDeserialize } = authorizationService.Check
  return {
    path,
    listener,
    arrived,
    check: (bodyBytes, otherBytes = 0) =>
      new Promise((resolve) => {
        const http = {
          rawBody: Buffer.alloc(bodyBytes, ' '),
          headerMap: { headers: [{ key: 'x', rawValue: Buffer.alloc(otherBytes, 'x') }] },
        }
        client.makeUnaryRequest(
          method,
          requestSerialize,
          responseDeserialize,
          { attributes: { request: { http } } },
          (error) => {
            resolve(error)
          },
        )
      }),
  }
}

/** A bare HTTP/2 connection: it shows what a gRPC client keeps to itself. */
function connection(path: string): ClientHttp2Session {
  const session = connect('http://localhost', { createConnection: () => createConnection(path) })
  closings.push(() => {
    session.destroy()
  })
  return session
}

describe('a message', () => {
  test('is read with a body of the cap and the longest headers beside it', async () => {
    const it = await rig()
    expect(await it.check(bodyCapBytes, 255 * KIB_BYTES)).toBeNull()
    expect(it.arrived[0]?.attributes?.request?.http?.rawBody).toHaveLength(bodyCapBytes)
  })

  test('beyond the cap and 256 KiB is refused before anybody reads it', async () => {
    const it = await rig()
    const error = await it.check(bodyCapBytes, 256 * KIB_BYTES)
    expect(error?.code).toBe(status.RESOURCE_EXHAUSTED)
    expect(it.arrived).toEqual([])
  })
})

describe('a connection', () => {
  test('is told how many calls it may have under way', async () => {
    const session = connection((await rig()).path)
    const settings = await new Promise<{ maxConcurrentStreams?: number }>((resolve) => {
      session.once('remoteSettings', resolve)
    })
    expect(settings.maxConcurrentStreams).toBe(7)
  })

  test('that is silent is asked whether it lives, after 30 seconds', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const it = await rig()
    const session = connection(it.path)
    const pings: Buffer[] = []
    const pinged = new Promise<void>((resolve) => {
      session.on('ping', (payload: Buffer) => {
        pings.push(payload)
        resolve()
      })
    })
    await new Promise((resolve) => session.once('remoteSettings', resolve))
    vi.advanceTimersByTime(29_999)
    // Answered after whatever the server had to say before.
    await new Promise((resolve) => session.ping(resolve))
    expect(pings).toEqual([])
    vi.advanceTimersByTime(1)
    await pinged
    expect(pings).toHaveLength(1)
  })
})

describe('the bounds of a connection', () => {
  const boundsFor = (maxBodyBytes: number) =>
    channelOptions({ maxBodyBytes, maxConcurrentStreams: 7 })

  test("are Tollgate's own, wherever grpc-js would have none", () => {
    expect(boundsFor(1_000_000)).toEqual({
      'grpc.enable_channelz': 0,
      'grpc.max_receive_message_length': 1_000_000 + 256 * KIB_BYTES,
      'grpc.max_concurrent_streams': 7,
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc-node.max_session_memory': 256,
    })
  })

  test('grow with the body, of which four must fit', () => {
    const sessionMb = (bodyMb: number) =>
      boundsFor(bodyMb * KIB_BYTES * KIB_BYTES)['grpc-node.max_session_memory']
    expect([64, 65, 100.1].map(sessionMb)).toEqual([256, 260, 401])
  })
})

test('channelz keeps no record of the server', async () => {
  await rig()
  const servers = await new Promise<unknown>((resolve) => {
    getChannelzHandlers().GetServers(
      { request: { start_server_id: '0', max_results: '10' } } as never,
      (_error: unknown, value?: { server?: unknown } | null) => {
        resolve(value?.server)
      },
    )
  })
  expect(servers).toEqual([])
})

describe('the end', () => {
  const addresses: ListenAddress[] = [
    { kind: 'unix', path: 'chosen by the rig' },
    { kind: 'tcp', host: '127.0.0.1', port: 0 },
    { kind: 'tcp', host: '::1', port: 0 },
  ]

  test.each(addresses)('ends a call that outlasts it, on %j', async (address) => {
    const it = await rig({ answers: 'never', address })
    const running = it.check(10)
    await vi.waitUntil(() => it.arrived.length === 1)
    await it.listener.stop(0)
    expect(await running).not.toBeNull()
  })
})

describe('a socket file at the address', () => {
  test('is removed where its process is gone', async () => {
    const path = join(directory, 'gone.sock')
    spawnSync(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ])
    expect(existsSync(path)).toBe(true)
    await removeStaleSocket(path)
    expect(existsSync(path)).toBe(false)
    await removeStaleSocket(path)
  })

  test('stays where its process is too busy to answer', async () => {
    const path = join(directory, 'busy.sock')
    const server = createServer((socket) => socket.destroy())
    closings.push(() => server.close())
    await new Promise<void>((resolve) => server.listen({ path, backlog: 1 }, resolve))
    // The server accepts nothing before this turn of the event loop ends: its queue is full by then.
    for (let count = 0; count < 4; count++) {
      const waiting = createConnection(path).on('error', () => undefined)
      closings.push(() => waiting.destroy())
    }
    await expect(removeStaleSocket(path)).rejects.toThrow(`${path}: EAGAIN`)
    expect(existsSync(path)).toBe(true)
  })
})
