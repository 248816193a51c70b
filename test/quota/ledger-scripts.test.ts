import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createLedger } from '../../src/quota/ledgers.js'
import { loadProcessesScript } from '../../src/quota/redis/redis-processes.js'
import { loadRedisScripts } from '../../src/quota/redis/scripts.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'

let redis: RedisServer
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.stop())

test('all that a ledger asks Redis for is there before anybody asks, by the rights that docs/configuration.md names', async () => {
  const page = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  const rights = /^ACL SETUSER tollgate on >PASSWORD (.*)$/m.exec(page)?.[1]?.split(' ') ?? []
  await redis.client.call('ACL', 'SETUSER', 'tollgate', 'on', '>word', ...rights)
  const directory = mkdtempSync(join(tmpdir(), 'ls-'))
  const passwordFile = join(directory, 'password')
  writeFileSync(passwordFile, 'word')
  const address = { ...redis.address, user: 'tollgate', passwordFile }
  const ledger = createLedger(
    { kind: 'redis', address, timeoutMs: 5000, maxPartitions: undefined, processes: 1 },
    { clock: systemClock, random: Math.random, processId: 'a', heapBytes: 1e8 },
  )
  const all = [...Object.values({ ...loadRedisScripts() }), loadProcessesScript()]
  const digests = all.map(({ digest }) => digest)
  await vi.waitFor(
    async () => {
      const known = await redis.client.call('SCRIPT', 'EXISTS', ...digests)
      expect(known).toEqual(digests.map(() => 1))
    },
    { timeout: 20_000, interval: 10 },
  )
  // Nothing else was loaded, and nothing was asked.
  expect(await redis.client.info('memory')).toMatch(
    new RegExp(`^number_of_cached_scripts:${String(all.length)}\r$`, 'm'),
  )
  expect(await redis.client.info('commandstats')).not.toMatch(/cmdstat_eval/)
  await ledger.close()
  rmSync(directory, { recursive: true })
})
