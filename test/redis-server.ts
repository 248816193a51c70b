import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { findRedis } from '../deploy/demo/find-redis.js'
import type { StoreAddress } from '../src/store/store.js'
import { freePort, onFreePorts } from './free-port.js'

export type ServerAddress = Extract<StoreAddress, { readonly url: string }>

/** A real redis-server of a test's own, on loopback and a Unix socket, in a directory of its own. */
export interface RedisServer {
  readonly port: number
  /** Its Unix socket: quicker than TCP. */
  readonly address: ServerAddress
  /** For the test's own questions. */
  readonly client: Redis
  /** Stops it in its tracks, and lets it go on: commands that came meanwhile are run then. */
  readonly pause: () => void
  readonly resume: () => void
  /** Ends it in the middle of whatever it does. */
  kill(): Promise<void>
  /** It can save nothing any more. */
  readonly loseDirectory: () => void
  stop(): Promise<void>
}

export function startRedis(...options: readonly string[]): Promise<RedisServer> {
  return onFreePorts(() => startOnce(options))
}

async function startOnce(options: readonly string[]): Promise<RedisServer> {
  const directory = mkdtempSync(join(tmpdir(), 'rd-'))
  const socket = join(directory, 's')
  mkdirSync(join(directory, 'data'))
  const port = await freePort()
  const server = launchRedis(directory, [
    ...['--port', String(port), '--bind', '127.0.0.1', '--unixsocket', socket],
    ...['--dir', join(directory, 'data'), '--save', '', '--appendonly', 'no'],
    ...options,
  ])
  const password = options[options.indexOf('--requirepass') + 1]
  const client = new Redis({
    path: socket,
    protocol: 2,
    retryStrategy: () => 20,
    maxRetriesPerRequest: null,
    ...(options.includes('--requirepass') && password !== undefined ? { password } : {}),
  })
  client.on('error', () => undefined)
  try {
    await Promise.race([client.ping(), server.diedEarly])
  } catch (error) {
    client.disconnect()
    await server.stop()
    throw error
  }
  return {
    port,
    address: addressOf(`unix://${socket}`),
    client,
    pause: server.pause,
    resume: server.resume,
    kill: server.kill,
    loseDirectory() {
      rmSync(join(directory, 'data'), { recursive: true })
    },
    async stop() {
      client.disconnect()
      await server.stop()
    },
  }
}

export interface RedisProcess {
  readonly pause: () => void
  readonly resume: () => void
  /** Rejects when it ends by itself. */
  readonly diedEarly: Promise<never>
  readonly kill: () => Promise<void>
  /** Kills it, and removes its directory. */
  stop(): Promise<void>
}

export function launchRedis(directory: string, args: readonly string[]): RedisProcess {
  const { binary, libraries } = findRedis()
  const child = spawn(binary, args, {
    stdio: 'ignore',
    env: { ...process.env, LD_LIBRARY_PATH: libraries },
  })
  // A file that fails before its hooks are set never comes to `stop`.
  const killAtExit = (): void => void child.kill('SIGKILL')
  process.once('exit', killAtExit)
  const exited = once(child, 'exit')
  const diedEarly = exited.then(() => {
    throw new Error('redis-server ended before it answered')
  })
  diedEarly.catch(() => undefined)
  async function kill(): Promise<void> {
    process.removeListener('exit', killAtExit)
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await exited
  }
  return {
    diedEarly,
    pause: () => {
      child.kill('SIGSTOP')
      // The signal is on its way; where the kernel tells, wait until it has arrived.
      const state = `/proc/${String(child.pid)}/stat`
      while (existsSync(state) && !/\) T /.test(readFileSync(state, 'utf8')));
    },
    resume: () => child.kill('SIGCONT'),
    kill,
    async stop() {
      await kill()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

export function addressOf(url: string): ServerAddress {
  return { url, caFile: undefined, user: undefined, passwordFile: undefined }
}
