import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { End, Ledger } from '../../src/quota/ledger.js'
import { storedReservation } from '../../src/quota/redis/stored-keys.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { until } from '../until.js'
import { answerOf, atMs, figuresIn, openSpoilt, standing } from './spoilt-turns.js'
import type { SpoiltProcess, TurnFate } from './spoilt-turns.js'

// What comes while Redis has not said what became of a decision from a slice: nothing is concluded before it does.

let redis: RedisServer
let onlooker: SpoiltProcess
beforeAll(async () => {
  redis = await startRedis()
  onlooker = openSpoilt(redis)
})
afterAll(async () => {
  await onlooker.close()
  await redis.stop()
})
beforeEach(() => redis.client.flushall())

const processes: Ledger<string>[] = []
const closeAll = async (): Promise<void> => {
  for (const ledger of processes.splice(0)) await ledger.close()
}
afterEach(closeAll)

/** One that has slices. */
async function open(): Promise<SpoiltProcess> {
  const ledger = openSpoilt(redis)
  processes.push(ledger)
  const id = `warm ${String(processes.length)}`
  await ledger.reserve(answerOf(id, id), atMs)
  await ledger.end(id, { kind: 'released' }, atMs)
  // It leaves a word for its report.
  await redis.client.del(storedReservation(id))
  return ledger
}

/** The turn that tells of what was decided so far gets no answer. */
async function failTurn(ledger: SpoiltProcess, fate: TurnFate): Promise<void> {
  ledger.turns.fate = fate
  await expect(ledger.expire(atMs)).rejects.toThrow()
}

async function outcomes(ledger: SpoiltProcess): Promise<string[]> {
  ledger.turns.fate = 'runs'
  const ended = await ledger.expire(atMs)
  return ended.map(({ reservation, outcome }) => `${reservation.id} ${outcome}`)
}

const settled: End = { kind: 'settled', inputTokens: 5, outputTokens: 0 }

describe.each(['unsent', 'lost'] as const)('while a turn is %s', (fate) => {
  test('what all answers gave up at the same time is given back, and told once', async () => {
    const ledger = await open()
    for (const id of ['a', 'b']) await ledger.reserve(answerOf('stream', id), atMs)
    await failTurn(ledger, fate)
    const given = ['a', 'b'].map((carrier) => ledger.abandon('a', atMs, carrier))
    expect(await Promise.all(given)).toEqual([undefined, undefined])
    expect(await outcomes(ledger)).toEqual(['a released'])
    expect(await outcomes(ledger)).toEqual([])
    expect(ledger.size().reservations).toBe(0)
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0))
  })

  test('what is given up after another answer was, before the turn, is given back', async () => {
    const ledger = await open()
    for (const id of ['a', 'b']) await ledger.reserve(answerOf('stream', id), atMs)
    expect(await ledger.abandon('a', atMs)).toBeUndefined()
    await failTurn(ledger, fate)
    expect(await ledger.abandon('a', atMs, 'b')).toBeUndefined()
    expect(await outcomes(ledger)).toEqual(['a released'])
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0))
  })

  test('one answer that was given up carries it no longer, and the other does', async () => {
    const ledger = await open()
    for (const id of ['a', 'b']) await ledger.reserve(answerOf('stream', id), atMs)
    await failTurn(ledger, fate)
    expect(await ledger.abandon('a', atMs, 'b')).toBeUndefined()
    expect(await outcomes(ledger)).toEqual([])
    expect(await onlooker.find('a', atMs)).toMatchObject({ context: 'context of stream' })
    expect(await ledger.abandon('a', atMs)).toMatchObject({ outcome: 'released' })
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0))
  })

  test('what is given up of the reservation of another process leaves that to it', async () => {
    const [one, other] = [await open(), await open()]
    await one.reserve(answerOf('stream', 'a'), atMs)
    await one.expire(atMs)
    await other.reserve(answerOf('stream', 'b'), atMs)
    await failTurn(other, fate)
    expect(await other.abandon('b', atMs)).toBeUndefined()
    expect(await outcomes(other)).toEqual([])
    expect(await onlooker.find('a', atMs)).toBeDefined()
    expect(await one.abandon('a', atMs)).toMatchObject({ outcome: 'released' })
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0))
  })

  test('what was given up is given back by a process that closes then', async () => {
    const ledger = await open()
    await ledger.reserve(answerOf('stream', 'a'), atMs)
    await failTurn(ledger, fate)
    expect(await ledger.abandon('a', atMs)).toBeUndefined()
    ledger.turns.fate = 'runs'
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0))
  })
})

describe('where one of what was given up cannot be given back', () => {
  /** Its turn was lost, and both streams of it were given up since. */
  async function givenUp(): Promise<SpoiltProcess> {
    const ledger = await open()
    for (const id of ['a', 'b']) await ledger.reserve(answerOf(id, id), atMs)
    await failTurn(ledger, 'lost')
    for (const id of ['a', 'b']) expect(await ledger.abandon(id, atMs)).toBeUndefined()
    ledger.turns.fate = 'runs'
    ledger.ends.fate = 'next unsent'
    return ledger
  }

  test('the others are, at once, and it is when it is tried again', async () => {
    const ledger = await givenUp()
    expect(await outcomes(ledger)).toEqual(['b released', 'a released'])
    expect(ledger.size().reservations).toBe(0)
  })

  test('the others are by a process that closes then, and it is at last', async () => {
    await givenUp()
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0))
  })
})

test('what was given up counts until it is given back, also when its turn has an answer', async () => {
  const ledger = await open()
  for (const id of ['a', 'b']) await ledger.reserve(answerOf(id, id), atMs)
  await failTurn(ledger, 'lost')
  for (const id of ['a', 'b']) expect(await ledger.abandon(id, atMs)).toBeUndefined()
  ledger.turns.fate = 'runs'
  await figuresIn(ledger)
  expect(ledger.size()).toMatchObject({ toGiveBack: 2 })
  await outcomes(ledger)
  expect(ledger.size()).toMatchObject({ toGiveBack: 0 })
})

test('what is given up while its turn is under way is told to whom gave it up', async () => {
  const ledger = await open()
  await ledger.reserve(answerOf('stream', 'a'), atMs)
  const expired = ledger.expire(atMs)
  expect(await ledger.abandon('a', atMs)).toMatchObject({ outcome: 'released' })
  expect(await expired).toEqual([])
})

test('what is given up and ends, though its answer is lost, is forgotten when it is tried again', async () => {
  const ledger = await open()
  await ledger.reserve(answerOf('stream', 'a'), atMs)
  await ledger.expire(atMs)
  ledger.ends.fate = 'lost'
  await expect(ledger.abandon('a', atMs)).rejects.toThrow('lost')
  expect(ledger.size().reservations).toBe(1)
  ledger.ends.fate = 'runs'
  expect(await outcomes(ledger)).toEqual([])
  expect([ledger.size().reservations, await ledger.find('a', atMs)]).toEqual([0, undefined])
  await closeAll()
  expect(await figuresIn(onlooker)).toEqual(standing(0))
})

test('what cannot be given up at once when its answer is there leaves room for others in the event loop', async () => {
  const ledger = await open()
  const ids = Array.from({ length: 20 }, (_, index) => String(index))
  for (const id of ids) await ledger.reserve(answerOf(id, id), atMs)
  await failTurn(ledger, 'lost')
  for (const id of ids) await ledger.abandon(id, atMs)
  let tried = 0
  Object.defineProperty(ledger.ends, 'fate', {
    get() {
      tried += 1
      return 'unsent'
    },
  })
  ledger.turns.fate = 'runs'
  let isOver = false
  const round = expect(ledger.expire(atMs)).rejects.toThrow('it was not sent')
  void round.then(() => (isOver = true))
  let most = 0
  while (!isOver) {
    const before = tried
    await new Promise(setImmediate)
    most = Math.max(most, tried - before)
  }
  await round
  // As many as slices had room for.
  expect(tried).toBeGreaterThan(5)
  expect(most).toBeLessThan(5)
})

test('what is given up and was given back by another process is forgotten', async () => {
  const ledger = await open()
  await ledger.reserve(answerOf('stream', 'a'), atMs)
  await ledger.expire(atMs)
  expect(await onlooker.abandon('a', atMs)).toMatchObject({ outcome: 'released' })
  expect(await ledger.abandon('a', atMs)).toBeUndefined()
  expect([ledger.size().reservations, await ledger.find('a', atMs)]).toEqual([0, undefined])
})

describe('an id for the reservation of another process', () => {
  async function repeated() {
    const [one, other] = [await open(), await open()]
    await one.reserve(answerOf('stream', 'a'), atMs)
    await one.expire(atMs)
    const again = await other.reserve(answerOf('stream', 'b'), atMs)
    expect(again).toMatchObject({ repeated: false, reservation: { id: 'b' } })
    await other.expire(atMs)
    return { one, other }
  }

  test.each(['one', 'other', 'third'] as const)('leads there at every process: %s', async (at) => {
    const ledgers = { ...(await repeated()), third: await open() }
    const ledger = ledgers[at]
    expect(await ledger.find('b', atMs)).toMatchObject({ id: 'a', context: 'context of stream' })
    expect(await ledger.end('b', settled, atMs)).toMatchObject({
      reservation: { id: 'a' },
      outcome: 'settled',
    })
    for (const each of Object.values(ledgers)) {
      for (const id of ['a', 'b']) {
        expect(await each.end(id, settled, atMs)).toBeUndefined()
      }
    }
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0, 1))
  })

  test('gives it up at a process that knows neither, for its own answer alone', async () => {
    const { one } = await repeated()
    const third = await open()
    expect(await third.abandon('b', atMs)).toBeUndefined()
    expect(await third.find('b', atMs)).toBeDefined()
    expect(await third.abandon('b', atMs, 'a')).toMatchObject({ reservation: { id: 'a' } })
    expect(await one.end('a', settled, atMs)).toBeUndefined()
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0))
  })

  test('lasts as long as a late report would settle it', async () => {
    await repeated()
    // Of a lease of a minute; and for the minute by which clocks may be set back.
    const keys = await redis.client.keys('tg2:{0}:r:*')
    const lastMs = await Promise.all(keys.map((key) => redis.client.pttl(key)))
    expect(Math.min(...lastMs)).toBeGreaterThan(120_000)
    expect(Math.min(...lastMs)).toBeLessThanOrEqual(180_000)
  })

  test('leads there also where Redis has lost what it answered', async () => {
    const [one, other] = [await open(), await open()]
    await one.reserve(answerOf('stream', 'a'), atMs)
    await one.expire(atMs)
    await other.reserve(answerOf('stream', 'b'), atMs)
    await failTurn(other, 'lost')
    await redis.client.del(await redis.client.keys('tg2:{0}:t:*'))
    // One that began by itself meanwhile is lost, too.
    expect(await until(() => outcomes(other))).toEqual([])
    expect(await other.find('b', atMs)).toMatchObject({ id: 'a' })
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(1))
  })

  test('leads nowhere where that has ended before', async () => {
    const [one, other] = [await open(), await open()]
    await one.reserve(answerOf('stream', 'a'), atMs)
    await one.end('a', settled, atMs)
    await other.reserve(answerOf('stream', 'b'), atMs)
    await other.expire(atMs)
    expect(await other.end('b', settled, atMs)).toBeUndefined()
    expect(await redis.client.keys('tg2:{0}:r:*')).toHaveLength(1)
    await closeAll()
    expect(await figuresIn(onlooker)).toEqual(standing(0, 1))
  })
})
