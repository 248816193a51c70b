import type { Redis } from 'ioredis'

/** A number out of `INFO section`. */
export async function info(redis: Redis, section: string, name: string): Promise<number> {
  const text = await redis.info(section)
  return Number(new RegExp(`^${name}[:=]([\\d.]+)`, 'm').exec(text)?.[1] ?? NaN)
}

/** What the bench itself asks Redis. */
const OWN = new Set(['info', 'config|resetstat', 'config', 'ping', 'flushall', 'dbsize'])

export interface Commands {
  /** Sent by a client. */
  readonly sent: number
  /** Those, and what scripts called. */
  readonly run: number
  readonly byName: Readonly<Record<string, number>>
}

/** What was run since the last `CONFIG RESETSTAT`. A script's own commands count where it runs, too. */
export async function commands(redis: Redis): Promise<Commands> {
  const text = await redis.info('commandstats')
  const rows = [...text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)]
  const counts = rows
    .map(([, name = '', calls]) => [name, Number(calls)] as const)
    .filter(([name]) => !OWN.has(name))
  const run = counts.reduce((sum, [, calls]) => sum + calls, 0)
  const byName = Object.fromEntries(counts)
  const scripts = (byName['evalsha'] ?? 0) + (byName['eval'] ?? 0)
  return { sent: scripts > 0 ? scripts : run, run, byName }
}
