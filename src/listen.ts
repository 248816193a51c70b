import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { ServerOptions } from '@grpc/grpc-js'
import { HealthImplementation } from 'grpc-health-check'
import { formatAddress, isLocal } from './config/address.js'
import type { ListenAddress } from './config/address.js'
import { authorizationServiceName, rateLimitServiceName } from './envoy/protos.js'
import { followTls } from './grpc-tls.js'
import type { TlsFiles, TlsLook } from './grpc-tls.js'
import { removeStaleSocket } from './stale-socket.js'
import { KIB_BYTES, MIB_BYTES } from './units.js'

/** Mutual TLS: whoever reaches the report could end a reservation, so a certificate of the CA alone is not enough. */
export interface GrpcTls extends TlsFiles {
  /** Exact subject alternative names, as `spiffe://example.org/ns/llm/sa/envoy`; the peer must have one. */
  readonly allowedSans: readonly string[]
}

export interface ListenOptions {
  readonly address: ListenAddress
  /** Required for a TCP address beyond loopback. */
  readonly tls: GrpcTls | undefined
  readonly maxBodyBytes: number
  readonly maxConcurrentStreams: number
  /**
   * Adds the services, before the server listens.
   *
   * @param allowedSans what the certificate of a caller must have one of; undefined: the transport alone says who
   *   can call
   */
  readonly addServices: (server: Server, allowedSans: readonly string[] | undefined) => void
}

export interface Listener {
  /** With the port that the system chose for port 0. */
  readonly address: ListenAddress
  /** What `grpc.health.v1` answers, for the empty name and for each service. */
  setServing(serving: boolean): void
  /** What it answers for `ratelimit`, by which envoyproxy/ratelimit is known; nobody knows that name before. */
  setRateLimitServing(serving: boolean): void
  /** Call it once a second: takes the files of `tls` where they have changed (`grpc-tls.ts`). */
  lookAtTls(): TlsLook
  /** Lets the calls under way finish; after `deadlineMs` ends them. A second call waits for the first. */
  stop(deadlineMs: number): Promise<void>
}

/**
 * Room in a message beside the body: headers (Envoy's default limit is 60 KiB, each comes twice at most),
 * certificates and metadata.
 */
const MESSAGE_EXTRA_BYTES = 256 * KIB_BYTES

/** Memory of one HTTP/2 session; Node's own default is unlimited through grpc-js. */
const MAX_SESSION_MEMORY_MB = 256

/** What bounds a connection, as grpc-js spells it. */
export function channelOptions({
  maxBodyBytes,
  maxConcurrentStreams,
}: Pick<ListenOptions, 'maxBodyBytes' | 'maxConcurrentStreams'>): ServerOptions {
  return {
    // channelz keeps statistics of every call: it costs 2-60 % and nobody reads it here.
    'grpc.enable_channelz': 0,
    'grpc.max_receive_message_length': maxBodyBytes + MESSAGE_EXTRA_BYTES,
    'grpc.max_concurrent_streams': maxConcurrentStreams,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    'grpc-node.max_session_memory': Math.max(
      MAX_SESSION_MEMORY_MB,
      Math.ceil((maxBodyBytes * 4) / MIB_BYTES),
    ),
  }
}

export async function listen(options: ListenOptions): Promise<Listener> {
  const { address } = options
  if (!isLocal(address) && (options.tls === undefined || options.tls.allowedSans.length === 0)) {
    throw new Error('a gRPC address beyond loopback needs mutual TLS with allowed SANs')
  }
  const server = new Server(channelOptions(options))
  const names = ['', authorizationServiceName, rateLimitServiceName]
  const health = new HealthImplementation()
  const setServing = (serving: boolean, of: readonly string[] = names): void => {
    for (const name of of) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING')
  }
  setServing(false)
  health.addToServer(server)
  options.addServices(server, options.tls?.allowedSans)

  if (address.kind === 'unix') await removeStaleSocket(address.path)
  const tls = options.tls && followTls(options.tls)
  const port = await bind(
    server,
    targetOf(address),
    tls?.credentials ?? ServerCredentials.createInsecure(),
  )
  const bound = address.kind === 'unix' ? address : { ...address, port }
  let stopped: Promise<void> | undefined
  return {
    address: bound,
    setServing: (serving) => {
      setServing(serving)
    },
    setRateLimitServing: (serving) => {
      setServing(serving, ['ratelimit'])
    },
    lookAtTls: () => tls?.look() ?? { kind: 'same' },
    stop(deadlineMs) {
      stopped ??= stop(server, targetOf(bound), deadlineMs)
      return stopped
    },
  }
}

function stop(server: Server, target: string, deadlineMs: number): Promise<void> {
  // `forceShutdown` of grpc-js 1.14 ends no connection where channelz is off: it knows none. `drain` does, if it
  // comes before `tryShutdown`; one connection left open (a health Watch) would keep the process for ever.
  server.drain(target, deadlineMs)
  return new Promise((resolve) => {
    const force = setTimeout(resolve, deadlineMs)
    server.tryShutdown(() => {
      clearTimeout(force)
      resolve()
    })
  })
}

/** The address as grpc-js spells it. */
function targetOf(address: ListenAddress): string {
  return address.kind === 'unix' ? `unix:${address.path}` : formatAddress(address)
}

function bind(server: Server, target: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(target, credentials, (error, port) => {
      if (error === null) resolve(port)
      else reject(error)
    })
  })
}
