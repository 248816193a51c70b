import { expect, vi } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import type { Ask } from '../../src/ratelimit/counters.js'
import type { OpenCounters } from '../../src/ratelimit/open-counters.js'
import type { RedisServer } from '../redis-server.js'

/** Loses the server for as many calls as it takes, and then sends none: it is asked until it is known to be back. */
export async function expectAskedAgain(
  lost: Pick<RedisServer, 'pause' | 'resume'>,
  { counters, isAvailable, askLost }: OpenCounters,
  domain: string,
  ask: Ask,
): Promise<void> {
  lost.pause()
  try {
    for (let call = 0; call < 6; call += 1) {
      await expect(counters.count(domain, [ask])).rejects.toThrow(DependencyError)
    }
    expect(isAvailable()).toBe(false)
  } finally {
    lost.resume()
  }
  await vi.waitFor(() => {
    askLost()
    expect(isAvailable()).toBe(true)
  }, 20_000)
}
