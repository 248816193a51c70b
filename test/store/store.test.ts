import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { DependencyError } from '../../src/errors.js'
import { createScript, openStore, ScriptError, UnansweredError } from '../../src/store/store.js'
import type { Reply, Store, StoreAddress } from '../../src/store/store.js'
import { startFaultProxy } from '../fault-proxy.js'
import { createSelfSigned } from '../identity/self-signed.js'
import { freePort } from '../free-port.js'
import { addressOf, startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'

/** Counts how often it took effect, and says as all scripts do when it came to it too late. */
const count = createScript(`
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
if nowMs >= tonumber(ARGV[1]) then return { 'late', nowMs } end
return { 'counted', nowMs, redis.call('INCR', KEYS[1]) }
`)

const stores: Store[] = []
afterEach(() => {
  for (const store of stores.splice(0)) store.close()
})

function open(address: StoreAddress, events: string[] = []): Store {
  const store = openStore(address, {
    clock: systemClock,
    random: () => 0,
    onUnavailable: (reason) => events.push(reason),
    onAvailable: () => events.push('available'),
  })
  stores.push(store)
  return store
}

function run(store: Store, timeoutMs = 5000): Promise<Reply> {
  const dueMs = systemClock.monotonicMs() + timeoutMs
  return store.run(count, ['n'], (untilMs) => [String(untilMs)], dueMs)
}

/** Until the store has a connection again, which it opens by itself. */
function eventually<T>(ask: () => Promise<T>): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

describe('a store', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())

  test('runs a script that Redis does not know, and one that it was told to forget', async () => {
    await redis.client.flushall()
    const store = open(redis.address)
    for (const times of [1, 2, 3]) {
      expect((await run(store))[2]).toBe(times)
      await redis.client.script('FLUSH')
    }
  })

  test('sends a script that Redis forgot under the deadline of the call, after which it does nothing', async () => {
    await redis.client.flushall()
    const store = open(redis.address)
    await run(store)
    const untils: number[] = []
    const argsUntil = (untilMs: number): readonly string[] => {
      untils.push(untilMs)
      // The second time it is sent to a Redis that comes to it too late.
      if (untils.length === 2) redis.pause()
      return [String(untilMs)]
    }
    // On a slow machine the first answer may come too late already: then once more.
    await eventually(async () => {
      untils.length = 0
      await redis.client.script('FLUSH')
      const healed = store.run(count, ['n'], argsUntil, systemClock.monotonicMs() + 100)
      await expect(healed).rejects.toThrow(DependencyError)
      redis.resume()
      expect(untils.length).toBe(2)
    })
    expect(untils[1]).toBe(untils[0])
    await eventually(() => run(store))
    expect(await redis.client.get('n')).toBe('2')
  })

  describe('where the clock of Redis was set forward', () => {
    /** As `count`, by a clock that is set: ARGV[2] is by how much at the first call, ARGV[3] at the others. */
    const setForward = createScript(`
local time = redis.call('TIME')
local asked = redis.call('INCR', 'asked')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000) + (asked > 1 and ARGV[3] or ARGV[2])
if nowMs >= tonumber(ARGV[1]) then return { 'late', nowMs } end
return { 'counted', nowMs, redis.call('INCR', KEYS[1]) }
`)
    const HOUR_MS = 3_600_000
    const ask = async (store: Store, aheadMs: number, thenMs: number): Promise<Reply> => {
      const argsUntil = (untilMs: number) => [untilMs, aheadMs, thenMs].map(String)
      return store.run(setForward, ['n'], argsUntil, systemClock.monotonicMs() + 5000)
    }
    beforeEach(() => redis.client.flushall())

    test('a call that is late by it is asked again, by the new time', async () => {
      const store = open(redis.address)
      expect((await ask(store, HOUR_MS, HOUR_MS)).slice(2)).toEqual([1])
      expect(store.nowMs()).toBeGreaterThan(Date.now() + HOUR_MS / 2)
      // From then on at once.
      expect((await ask(store, HOUR_MS, HOUR_MS)).slice(2)).toEqual([2])
      expect(await redis.client.get('asked')).toBe('3')
    })

    test('one that is late again has failed, with nothing done', async () => {
      const store = open(redis.address)
      const late = ask(store, HOUR_MS, 2 * HOUR_MS)
      await expect(late).rejects.toThrow('Redis came to it too late')
      expect(await redis.client.mget('asked', 'n')).toEqual(['2', null])
    })
  })

  test('knows the time of Redis', async () => {
    const store = open(redis.address)
    expect(store.nowMs()).toBeUndefined()
    const [, redisMs] = await run(store)
    expect(store.nowMs()).toBeGreaterThanOrEqual(redisMs - 1)
  })

  test('lets nothing take effect after the call has failed', async () => {
    await redis.client.flushall()
    const store = open(redis.address)
    await run(store)
    redis.pause()
    await expect(run(store, 30)).rejects.toThrow(UnansweredError)
    redis.resume()
    await eventually(() => run(store))
    expect(await redis.client.get('n')).toBe('2')
  })

  test('sends nothing twice when its connection is cut before the answer', async () => {
    await redis.client.flushall()
    const proxy = await startFaultProxy(redis.port)
    const events: string[] = []
    const store = open(addressOf(`redis://127.0.0.1:${String(proxy.port)}`), events)
    await run(store)
    proxy.dropAnswers(true)
    const lost = run(store)
    const failed = expect(lost).rejects.toThrow('lost before the answer')
    while ((await redis.client.get('n')) !== '2') await Promise.resolve()
    proxy.dropAnswers(false)
    proxy.cut()
    await failed
    await eventually(() => run(store))
    expect(await redis.client.get('n')).toBe('3')
    expect(events).toEqual(['the connection to Redis was lost', 'available'])
    await proxy.stop()
  })

  test('gives up a connection on which nothing is answered, for a new one', async () => {
    const proxy = await startFaultProxy(redis.port)
    const store = open(addressOf(`redis://127.0.0.1:${String(proxy.port)}`))
    await run(store)
    proxy.dropAnswers(true)
    for (let fault = 0; fault < 5; fault += 1) {
      await expect(run(store, 1)).rejects.toThrow(DependencyError)
    }
    proxy.dropAnswers(false)
    await eventually(() => run(store))
    expect(proxy.opened()).toBeGreaterThan(1)
    await proxy.stop()
  })

  test('is not silent for what a half-open connection owes that was given up', async () => {
    const proxy = await startFaultProxy(redis.port)
    const store = open(addressOf(`redis://127.0.0.1:${String(proxy.port)}`))
    await run(store)
    proxy.swallowOpen()
    const asked = await Promise.allSettled([1, 2, 3, 4, 5].map(() => run(store, 50)))
    for (const { status } of asked) expect(status).toBe('rejected')
    await eventually(() => run(store))
    // What the old one owes fails when it is destroyed, some seconds later.
    await new Promise(setImmediate)
    expect(store.silentMs('n')).toBe(0)
    await proxy.stop()
  })

  describe('that does not answer and gets no calls', () => {
    interface Shared {
      readonly key: string
      readonly of?: string
      readonly timeoutMs?: number
    }
    /** Counts, and says how it is asked without. */
    const ask = (store: Store, { key, of = key, timeoutMs = 5000 }: Shared): Promise<Reply> => {
      const dueMs = systemClock.monotonicMs() + timeoutMs
      const argsUntil = (untilMs: number): readonly string[] => {
        probed.push(of)
        return [String(untilMs), '0']
      }
      const probe = { of, timeoutMs: 5000, argsUntil }
      return store.run(by, [key], (untilMs) => [String(untilMs), '1'], dueMs, { probe })
    }
    const probed: string[] = []
    /** As `count`, by ARGV[2]. */
    const by = createScript(count.text.replace("'INCR', KEYS[1]", "'INCRBY', KEYS[1], ARGV[2]"))
    beforeEach(async () => {
      probed.length = 0
      await redis.client.flushall()
    })

    async function lose(store: Store, ...keys: readonly string[]): Promise<void> {
      redis.pause()
      for (const key of keys) {
        await expect(ask(store, { key, timeoutMs: 20 })).rejects.toThrow(DependencyError)
      }
      redis.resume()
    }

    test('is asked by a call that it failed, in words that change nothing, until it answers', async () => {
      const events: string[] = []
      const store = open(redis.address, events)
      await ask(store, { key: 'n' })
      await lose(store, 'n', 'n', 'n', 'n', 'n')
      expect(events).toEqual(['Redis does not answer as it should'])
      await eventually(() => {
        store.probe()
        expect(events.at(-1)).toBe('available')
        return Promise.resolve()
      })
      expect(await redis.client.get('n')).toBe('1')
      // In another outage what failed in this one is not asked.
      await lose(store, 'm', 'm', 'm', 'm', 'm')
      probed.length = 0
      await eventually(() => {
        store.probe()
        expect(events.at(-1)).toBe('available')
        return Promise.resolve()
      })
      expect(new Set(probed)).toEqual(new Set(['m']))
    })

    test('is asked by the calls in turn, one that was not even sent among them', async () => {
      const events: string[] = []
      const store = open(redis.address, events)
      // None may ask for it but this one.
      await redis.client.acl('SETUSER', 'default', 'resetkeys', '~n', '~free')
      await ask(store, { key: 'n' })
      for (let fault = 0; fault < 5; fault += 1) {
        await expect(ask(store, { key: 'barred' })).rejects.toThrow('Redis answered NOPERM')
      }
      await expect(ask(store, { key: 'free' })).rejects.toThrow('is not asked')
      await eventually(() => {
        store.probe()
        expect(events.at(-1)).toBe('available')
        return Promise.resolve()
      })
      await redis.client.acl('SETUSER', 'default', 'allkeys')
    })

    test('is not asked as long as it is not given up', async () => {
      const store = open(redis.address)
      await ask(store, { key: 'n' })
      await lose(store, 'n', 'n', 'n', 'n')
      store.probe()
      await eventually(() => run(store))
      expect(probed).toEqual([])
    })
  })

  test('fails at once without a connection, and works when there is one', async () => {
    const port = redis.port
    const proxy = await startFaultProxy(port)
    const url = `redis://127.0.0.1:${String(proxy.port)}`
    await proxy.stop()
    const events: string[] = []
    const store = open(addressOf(url), events)
    await expect(run(store)).rejects.toThrow('no connection to Redis')
    expect(events).toEqual(['no connection to Redis'])
  })
})

test('reads the password anew at each connect', async () => {
  const redis = await startRedis('--requirepass', 'first')
  const directory = mkdtempSync(join(tmpdir(), 'pw-'))
  const passwordFile = join(directory, 'password')
  writeFileSync(passwordFile, 'first\n')
  const store = open({ ...redis.address, user: 'default', passwordFile })
  await run(store)
  await redis.client.config('SET', 'requirepass', 'second')
  writeFileSync(passwordFile, 'second\n')
  await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await eventually(() => run(store))
  writeFileSync(passwordFile, 'wrong')
  await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await expect(run(store)).rejects.toThrow(DependencyError)
  await redis.stop()
  rmSync(directory, { recursive: true })
})

describe('with TLS', () => {
  const directory = mkdtempSync(join(tmpdir(), 'tls-'))
  let redis: RedisServer
  const caFile = join(directory, 'ca.pem')
  const keyFile = join(directory, 'key.pem')
  let url: string
  beforeAll(async () => {
    const { cert, key } = createSelfSigned()
    writeFileSync(caFile, cert)
    writeFileSync(keyFile, key)
    const tlsPort = await freePort()
    redis = await startRedis(
      ...['--tls-port', String(tlsPort), '--tls-auth-clients', 'no'],
      ...['--tls-cert-file', caFile, '--tls-key-file', keyFile],
    )
    url = `rediss://127.0.0.1:${String(tlsPort)}`
  })
  afterAll(async () => {
    await redis.stop()
    rmSync(directory, { recursive: true })
  })

  test('trusts the authority that it was told, and no other', async () => {
    expect((await run(open({ ...addressOf(url), caFile })))[0]).toBe('counted')
    await expect(run(open(addressOf(url)))).rejects.toThrow('no connection to Redis')
    // Of this OpenSSL reads nothing.
    const bundle = join(directory, 'bundle.pem')
    writeFileSync(bundle, `-----BEGIN my CA-----\n${readFileSync(caFile, 'utf8')}`)
    expect((await run(open({ ...addressOf(url), caFile: bundle })))[0]).toBe('counted')
  })
})

/** Answers `TIME` as Redis does, and every script with one error. */
async function startRefusing(error: string) {
  let scripts = 0
  let connections = 0
  const server = createServer((socket) => {
    connections += 1
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      for (const [command] of data.toString().matchAll(/\r\n(time|eval\w*)\r\n/gi)) {
        if (/time/i.test(command)) socket.write('*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n')
        else {
          scripts += 1
          socket.write(`-${error}\r\n`)
        }
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `redis://127.0.0.1:${String(port)}`,
    scripts: () => scripts,
    connections: () => connections,
    stop: () => server.close(),
  }
}

test('a call takes effect until 2 ms before it is due here: so far the clocks may have drifted apart', async () => {
  const server = await startRefusing('LOADING Redis is loading the dataset in memory')
  const clock = { ...systemClock, monotonicMs: () => 1000 }
  const store = openStore(addressOf(server.url), { clock, random: () => 0 })
  stores.push(store)
  const untils: number[] = []
  const asked = store.run(count, ['n'], (untilMs) => [String(untils.push(untilMs))], 1500)
  await expect(asked).rejects.toThrow(DependencyError)
  server.stop()
  // It said that it was 1700000000 when the clock here showed 1000.
  expect(untils).toEqual([1_700_000_000_498])
})

describe('an error that Redis answers', () => {
  test.each([
    "READONLY You can't write against a read only replica. secret",
    'LOADING Redis is loading the dataset in memory',
    "OOM command not allowed when used memory > 'maxmemory'.",
    'MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist',
    'BUSY Redis is busy running a script.',
    'CLUSTERDOWN The cluster is down',
    'MASTERDOWN Link with MASTER is down',
    'NOREPLICAS Not enough good replicas to write.',
    'MOVED 3999 127.0.0.1:6381',
    'NOAUTH Authentication required.',
    "NOPERM this user has no permissions to run the 'evalsha' command",
    'NOSCRIPT No matching script. Please use EVAL.',
    'WRONGTYPE Operation against a key holding the wrong kind of value',
    "ERR unknown command 'EVALSHA', with args beginning with: 'secret'",
    'something else',
  ])('is a failure of the store: %s', async (error) => {
    const server = await startRefusing(error)
    const refused = await run(open(addressOf(server.url))).catch((thrown: unknown) => thrown)
    server.stop()
    expect(refused).toBeInstanceOf(DependencyError)
    expect(refused).not.toBeInstanceOf(UnansweredError)
    expect(refused).toMatchObject({ dependency: 'ledger' })
    // It carries the command, with what a caller's request said.
    expect((refused as Error).cause).toBeUndefined()
    expect((refused as Error).message).toMatch(/^Redis answered (an error|[A-Z]+)$/)
  })

  test('of a server that takes no writes leads to a new connection, which may find another', async () => {
    const server = await startRefusing("READONLY You can't write against a read only replica.")
    await expect(run(open(addressOf(server.url)))).rejects.toThrow('Redis answered READONLY')
    await vi.waitFor(() => {
      expect(server.connections()).toBe(2)
    })
    server.stop()
  })

  test.each([
    'ERR user_script:12: a window that is not known here script: f00, on @user_script:12.',
    'ERR Error running script (call to f_f00): @user_script:12: user_script:12: a window',
    'WRONGTYPE Operation against a key holding the wrong kind of value script: f00, on @user_script:3.',
    'ERR Script attempted to access a non local key in a cluster node script: f00, on @user_script:3.',
  ])('that a script raises of what it found stops nothing else: %s', async (error) => {
    const server = await startRefusing(error)
    const events: string[] = []
    const store = open(addressOf(server.url), events)
    for (let call = 0; call < 8; call += 1) {
      await expect(run(store)).rejects.toThrow(ScriptError)
    }
    expect(server.scripts()).toBe(8)
    expect(server.connections()).toBe(1)
    server.stop()
    expect(events).toEqual([])
  })

  test('five times in a row is the last for a while', async () => {
    const server = await startRefusing('LOADING Redis is loading the dataset in memory')
    const events: string[] = []
    const store = open(addressOf(server.url), events)
    const messages: string[] = []
    for (let call = 0; call < 8; call += 1) {
      await run(store).catch((error: unknown) => messages.push((error as Error).message))
    }
    expect(server.scripts()).toBe(5)
    expect(messages.slice(5)).toEqual(Array(3).fill('Redis is not asked: it did not answer'))
    // It connects again, and is not taken for available by that.
    await vi.waitFor(() => {
      expect(server.connections()).toBeGreaterThan(1)
    })
    server.stop()
    expect(events).toEqual(['Redis does not answer as it should'])
  })
})
