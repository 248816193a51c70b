import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createScript, openStore, UnansweredError } from '../../src/store/store.js'
import type { Reply, Script, Store, StoreAddress } from '../../src/store/store.js'
import { addressOf, startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'

/** Counts, unless it came too late; each has a text of its own. */
const scriptNamed = (name: string): Script =>
  createScript(`-- ${name}
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
if nowMs >= tonumber(ARGV[1]) then return { 'late', nowMs } end
return { 'counted', nowMs, redis.call('INCR', KEYS[1]) }
`)
const one = scriptNamed('one')
const other = scriptNamed('other')
const scripts = [one, other]

const stores: Store[] = []
afterEach(() => {
  for (const store of stores.splice(0)) store.close()
})

function open(address: StoreAddress, events: string[] = [], needed = scripts): Store {
  const store = openStore(address, {
    clock: systemClock,
    random: () => 0,
    scripts: needed,
    onUnavailable: (reason) => events.push(reason),
    onAvailable: () => events.push('available'),
  })
  stores.push(store)
  return store
}

function run(store: Store, script = one, key = 'n'): Promise<Reply> {
  const dueMs = systemClock.monotonicMs() + 20_000
  return store.run(script, [key], (untilMs) => [String(untilMs)], dueMs)
}

function eventually<T>(ask: () => Promise<T>): Promise<T> {
  return vi.waitFor(ask, { timeout: 20_000, interval: 10 })
}

describe('the scripts of a store', () => {
  let redis: RedisServer
  beforeAll(async () => {
    redis = await startRedis()
  })
  afterAll(() => redis.stop())
  beforeEach(async () => {
    await redis.client.flushall()
    await redis.client.script('FLUSH')
    await redis.client.config('RESETSTAT')
  })

  const known = (): Promise<unknown> =>
    redis.client.call('SCRIPT', 'EXISTS', ...scripts.map(({ digest }) => digest))
  const expectKnown = (): Promise<void> =>
    eventually(async () => {
      expect(await known()).toEqual([1, 1])
    })
  /** How often Redis was asked for this, whatever it answered. */
  async function asked(command: string): Promise<number> {
    const stats = await redis.client.info('commandstats')
    return Number(new RegExp(`^cmdstat_${command}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0)
  }
  const killConnections = (): Promise<unknown> =>
    redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')

  test('are there before anybody asks', async () => {
    const store = open(redis.address)
    await expectKnown()
    await run(store)
    await run(store, other)
    expect(await asked('eval')).toBe(0)
    expect(await asked('evalsha')).toBe(2)
  })

  test('are there again when the connection was lost and Redis has forgotten them', async () => {
    const store = open(redis.address)
    await expectKnown()
    await redis.client.script('FLUSH')
    await killConnections()
    await expectKnown()
    await eventually(() => run(store))
    expect(await asked('eval')).toBe(0)
  })

  test('are not sent where Redis has them', async () => {
    for (const { text } of scripts) await redis.client.script('LOAD', text)
    const store = open(redis.address)
    await run(store)
    await killConnections()
    await eventually(() => run(store))
    await eventually(async () => {
      expect(await asked('script\\|exists')).toBe(2)
    })
    expect(await asked('script\\|load')).toBe(scripts.length)
  })

  test('that Redis forgets while 200 calls are on their way are sent once each, and no call fails', async () => {
    const store = open(redis.address, [], [])
    await run(store)
    await run(store, other)
    // The second time is not the first: what was sent before Redis forgot counts no longer.
    for (const times of [1, 2]) {
      await redis.client.script('FLUSH')
      await redis.client.config('RESETSTAT')
      const calls = Array.from({ length: 200 }, (_, index) => run(store, scripts[index % 2]))
      await Promise.all(calls)
      expect(await asked('eval')).toBe(2)
      // Each is asked twice at most.
      expect(await asked('evalsha')).toBe(200 + 198)
      expect(await redis.client.get('n')).toBe(String(2 + 200 * times))
    }
  })

  test('that Redis forgot are all loaded again when one call finds it out', async () => {
    const store = open(redis.address)
    await expectKnown()
    await redis.client.script('FLUSH')
    await run(store)
    await expectKnown()
    expect(await asked('eval')).toBe(1)
    // The one that the call brought is not sent once more.
    expect(await asked('script\\|load')).toBe(scripts.length + 1)
  })

  describe('where the user may not load them', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sc-'))
    const passwordFile = join(directory, 'password')
    writeFileSync(passwordFile, 'word')
    afterAll(() => {
      rmSync(directory, { recursive: true })
    })

    test.each([[[]], [['+script|exists']]])('come with a call: %s', async (more) => {
      const rights = ['~*', '+evalsha', '+eval', '+time', '+incr', ...more]
      await redis.client.call('ACL', 'SETUSER', 'few', 'reset', 'on', '>word', ...rights)
      const events: string[] = []
      const store = open({ ...redis.address, user: 'few', passwordFile }, events)
      expect((await run(store))[2]).toBe(1)
      const counted = await Promise.all(Array.from({ length: 20 }, () => run(store, other)))
      expect(counted.map(([, , count]) => count)).toContain(21)
      expect(await asked('eval')).toBe(2)
      expect(events).toEqual([])
    })
  })
})

const NOSCRIPT = '-NOSCRIPT No matching script. Please use EVAL.\r\n'
const LATE = '*2\r\n$4\r\nlate\r\n:1700000000000\r\n'

/**
 * Forgets a script with each `forget`. What it says to one is told: `undefined` comes late, before its next answer.
 */
async function startForgetful(toScript: () => string | undefined) {
  const node = { knows: false, evalsha: 0, eval: 0, whenAsked: (): void => undefined }
  let owed = ''
  const server = createServer((socket) => {
    const say = (answer: string): void => {
      socket.write(owed + answer)
      owed = ''
    }
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      for (const [, command = ''] of data.toString().matchAll(/\r\n(time|evalsha|eval)\r\n/gi)) {
        if (/time/i.test(command)) say('*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n')
        else {
          node[/sha/i.test(command) ? 'evalsha' : 'eval'] += 1
          node.whenAsked()
          if (!/sha/i.test(command)) node.knows = true
          const answer = node.knows ? toScript() : NOSCRIPT
          if (answer === undefined) owed += LATE
          else say(answer)
        }
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return Object.assign(node, {
    url: `redis://127.0.0.1:${String(port)}`,
    forget: () => (node.knows = false),
    asked: () => ({ evalsha: node.evalsha, eval: node.eval }),
    stop: () => server.close(),
  })
}

describe('a server that has forgotten a script, and answers', () => {
  let nowMs = 1000
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  function openAt(url: string, events: string[]): Store {
    const store = openStore(addressOf(url), {
      clock: { monotonicMs: () => nowMs },
      random: () => 0,
      onUnavailable: (reason) => events.push(reason),
      onAvailable: () => events.push('available'),
    })
    stores.push(store)
    return store
  }
  const ask = (store: Store): Promise<Reply> =>
    store.run(one, ['n'], (untilMs) => [String(untilMs)], nowMs + 60)
  const failure = (call: Promise<Reply>): Promise<unknown> => call.catch((error: unknown) => error)

  test('is not taken for away where it answers the text of it too late', async () => {
    const server = await startForgetful(() => {
      nowMs += 60
      vi.advanceTimersByTime(60)
      return undefined
    })
    const events: string[] = []
    const store = openAt(server.url, events)
    for (let call = 0; call < 8; call += 1) {
      server.forget()
      await expect(ask(store)).rejects.toThrow(UnansweredError)
    }
    server.stop()
    expect(server.asked()).toEqual({ evalsha: 8, eval: 8 })
    expect(events).toEqual([])
  })

  test('is not where it says itself that it came to it too late', async () => {
    const server = await startForgetful(() => LATE)
    const events: string[] = []
    const store = openAt(server.url, events)
    for (let call = 0; call < 8; call += 1) {
      server.forget()
      await expect(ask(store)).rejects.toThrow('Redis came to it too late')
    }
    server.stop()
    // Healed once, and asked once more by the time that it told.
    expect(server.asked()).toEqual({ evalsha: 16, eval: 8 })
    expect(events).toEqual([])
  })

  test.each([
    [
      'fails with another error',
      '-BUSY Redis is busy running a script.\r\n',
      { evalsha: 5, eval: 5 },
    ],
    ['still does not know it', NOSCRIPT, { evalsha: 5, eval: 5 }],
  ])('is where it then %s', async (_, answer, asked) => {
    const server = await startForgetful(() => answer)
    const events: string[] = []
    const store = openAt(server.url, events)
    for (let call = 0; call < 8; call += 1) {
      server.forget()
      await failure(ask(store))
    }
    server.stop()
    expect(server.asked()).toEqual(asked)
    expect(events).toEqual(['Redis does not answer as it should'])
  })

  test('is where it comes too late with one that it knows', async () => {
    const server = await startForgetful(() => LATE)
    const events: string[] = []
    const store = openAt(server.url, events)
    server.knows = true
    for (let call = 0; call < 8; call += 1) await failure(ask(store))
    server.stop()
    expect(server.asked()).toEqual({ evalsha: 10, eval: 0 })
    expect(events).toEqual(['Redis does not answer as it should'])
  })

  test('is brought the text, but not asked again by those for which no time is left', async () => {
    const server = await startForgetful(() => undefined)
    const store = openAt(server.url, [])
    // The timers of this process stand still: the answer is read before they say so.
    server.whenAsked = () => {
      if (server.evalsha === 2 && server.eval === 0) nowMs += 60
    }
    const [first, second] = await Promise.all([failure(ask(store)), failure(ask(store))])
    while (server.eval === 0) await new Promise((resolve) => setImmediate(resolve))
    server.stop()
    expect(first).toBeInstanceOf(UnansweredError)
    // Nothing of it has run.
    expect(second).not.toBeInstanceOf(UnansweredError)
    expect(second).toMatchObject({
      message: 'Redis had forgotten the script, and no time is left',
    })
    expect(server.asked()).toEqual({ evalsha: 2, eval: 1 })
  })
})
