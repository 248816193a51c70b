import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../test/free-port.js'

/** A running envoyproxy/ratelimit. */
export interface Peer {
  readonly pid: number
  /** Where it answers gRPC, a path. */
  readonly socket: string
  stop(): Promise<void>
}

/** Where `make peer` puts it. */
const binary = join('.deps', 'peer', 'service_cmd')

export const noPeer = 'envoyproxy/ratelimit is not built: run `make peer` (Go, a minute)'

export function hasPeer(): boolean {
  return existsSync(binary)
}

/**
 * Starts it as it comes, statistics off, on a Redis that is there already.
 *
 * @param rules a file of its own YAML
 * @throws Error it is not built, or does not start
 */
export async function startPeer(
  directory: string,
  redisSocket: string,
  rules: string,
): Promise<Peer> {
  if (!hasPeer()) throw new Error(noPeer)
  const config = join(directory, 'peer', 'config')
  mkdirSync(config, { recursive: true })
  writeFileSync(join(config, 'rules.yaml'), rules)
  const socket = join(directory, 'peer.sock')
  const [port, debugPort] = [await freePort(), await freePort()]
  const logFile = join(directory, 'peer.log')
  const log = openSync(logFile, 'a')
  const child = spawn(binary, [], {
    stdio: ['ignore', log, log],
    env: {
      BACKEND_TYPE: 'redis',
      REDIS_SOCKET_TYPE: 'unix',
      REDIS_URL: redisSocket,
      GRPC_UDS: socket,
      HOST: '127.0.0.1',
      PORT: String(port),
      DEBUG_HOST: '127.0.0.1',
      DEBUG_PORT: String(debugPort),
      USE_STATSD: 'false',
      RUNTIME_ROOT: directory,
      RUNTIME_SUBDIRECTORY: 'peer',
      RUNTIME_WATCH_ROOT: 'false',
    },
  })
  const killAtExit = (): void => void child.kill('SIGKILL')
  process.once('exit', killAtExit)
  const exited = once(child, 'exit')
  const { pid } = child
  if (pid === undefined) throw new Error(`${binary} could not be started`)
  for (;;) {
    if (child.exitCode !== null) throw new Error(`envoyproxy/ratelimit ended: see ${logFile}`)
    const healthy = await fetch(`http://127.0.0.1:${String(port)}/healthcheck`).then(
      ({ ok }) => ok,
      () => false,
    )
    if (healthy && existsSync(socket)) break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return {
    pid,
    socket,
    async stop() {
      process.removeListener('exit', killAtExit)
      child.kill('SIGKILL')
      await exited
    },
  }
}
