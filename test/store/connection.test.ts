import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { openConnection } from '../../src/store/connection.js'
import { createRedisClock } from '../../src/store/redis-clock.js'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** The pauses between attempts that find no server. */
async function pauses(random: number, attempts: number): Promise<readonly number[]> {
  const triedAtMs: number[] = []
  const connection = openConnection({
    find: () => {
      triedAtMs.push(Date.now())
      return Promise.reject(new Error('nothing there'))
    },
    access: { caFile: undefined, user: undefined, passwordFile: undefined },
    clock: systemClock,
    redisClock: createRedisClock(),
    random: () => random,
    onLost: () => undefined,
    onConnected: () => undefined,
  })
  while (triedAtMs.length < attempts) {
    await new Promise((resolve) => setImmediate(resolve))
    vi.advanceTimersToNextTimer()
  }
  connection.close()
  return triedAtMs.slice(1).map((atMs, index) => atMs - (triedAtMs[index] ?? 0))
}

test('a server that is away is tried again after twice as long each time, and every two seconds at last', async () => {
  expect(await pauses(1, 9)).toEqual([50, 100, 200, 400, 800, 1600, 2000, 2000])
})

test('chance shortens a pause to half of it, so that processes do not come all at once', async () => {
  expect(await pauses(0, 9)).toEqual([25, 50, 100, 200, 400, 800, 1000, 1000])
})
