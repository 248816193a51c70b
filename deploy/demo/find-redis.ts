import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** A redis-server to run. */
export interface RedisProgram {
  readonly binary: string
  /** Its LD_LIBRARY_PATH. */
  readonly libraries: string
}

/**
 * `redis-server` on PATH when it is new enough, else the one that `make redis` put into `.deps/`.
 *
 * @throws Error there is none; the message says how to get it
 */
export function findRedis(): RedisProgram {
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
