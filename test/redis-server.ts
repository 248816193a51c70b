import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { StoreAddress } from '../src/store/store.js'
import { freePort } from './free-port.js'

/** A real redis-server of a test's own, on loopback and a Unix socket, in a directory of its own. */
export interface RedisServer {
  readonly port: number
  /** Its Unix socket: quicker than TCP. */
  readonly address: StoreAddress
  /** For the test's own questions. */
  readonly client: Redis
  /** Stops it in its tracks, and lets it go on: commands that came meanwhile are run then. */
  readonly pause: () => void
  readonly resume: () => void
  /** It can save nothing any more. */
  readonly loseDirectory: () => void
  stop(): Promise<void>
}

export async function startRedis(...options: readonly string[]): Promise<RedisServer> {
  const { binary, libraries } = findRedis()
  const directory = mkdtempSync(join(tmpdir(), 'rd-'))
  const socket = join(directory, 's')
  mkdirSync(join(directory, 'data'))
  const port = await freePort()
  const child = spawn(
    binary,
    [
      ...['--port', String(port), '--bind', '127.0.0.1', '--unixsocket', socket],
      ...['--dir', join(directory, 'data'), '--save', '', '--appendonly', 'no'],
      ...options,
    ],
    { stdio: 'ignore', env: { ...process.env, LD_LIBRARY_PATH: libraries } },
  )
  // A file that fails before its hooks are set never comes to `stop`.
  const killAtExit = (): void => void child.kill('SIGKILL')
  process.once('exit', killAtExit)
  const password = options[options.indexOf('--requirepass') + 1]
  const client = new Redis({
    path: socket,
    protocol: 2,
    retryStrategy: () => 20,
    maxRetriesPerRequest: null,
    ...(options.includes('--requirepass') && password !== undefined ? { password } : {}),
  })
  client.on('error', () => undefined)
  await Promise.race([client.ping(), diedEarly(child)])
  return {
    port,
    address: addressOf(`unix://${socket}`),
    client,
    pause: () => {
      child.kill('SIGSTOP')
      // The signal is on its way; where the kernel tells, wait until it has arrived.
      const state = `/proc/${String(child.pid)}/stat`
      while (existsSync(state) && !/\) T /.test(readFileSync(state, 'utf8')));
    },
    resume: () => child.kill('SIGCONT'),
    loseDirectory() {
      rmSync(join(directory, 'data'), { recursive: true })
    },
    async stop() {
      client.disconnect()
      process.removeListener('exit', killAtExit)
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit')
        child.kill('SIGCONT')
        child.kill('SIGKILL')
        await exited
      }
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

export function addressOf(url: string): StoreAddress {
  return { url, caFile: undefined, user: undefined, passwordFile: undefined }
}

async function diedEarly(child: ChildProcess): Promise<never> {
  await once(child, 'exit')
  throw new Error('redis-server ended before it answered')
}

/** The one on PATH if it is new enough, else the one that `make redis` fetched. */
function findRedis(): { readonly binary: string; readonly libraries: string } {
  try {
    const version = execFileSync('redis-server', ['--version'], { encoding: 'utf8' })
    if (/v=([7-9]|[1-9]\d+)\./.test(version)) {
      return { binary: 'redis-server', libraries: process.env['LD_LIBRARY_PATH'] ?? '' }
    }
  } catch {
    // None on PATH.
  }
  const fetched = join(process.cwd(), '.deps', 'redis', 'usr')
  const binary = join(fetched, 'bin', 'redis-server')
  if (!existsSync(binary)) throw new Error('no Redis 7.0 or newer: run `make redis`')
  const lib = join(fetched, 'lib')
  const libraries = readdirSync(lib).map((name) => join(lib, name))
  return { binary, libraries: libraries.join(':') }
}
