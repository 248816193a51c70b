import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/clock.js'
import type { Ended, Ledger } from '../../src/quota/ledger.js'
import { DependencyError } from '../../src/errors.js'
import { ScriptError, UnansweredError } from '../../src/store/store.js'
import { onCluster } from './on-redis.js'
import { away, bucketOf, home, openProcess, reservedIn, streamOf, third } from './three-nodes.js'
import type { Spoil } from './three-nodes.js'

// What could not be given back on every node is tried again, perhaps by several calls at once.

const on = onCluster()
const ledgers: Ledger<string>[] = []
beforeEach(() => on.group.flush())
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close()
})

/** What comes of each end that is told to `away`, in the order in which they come. */
let answers: ((end: () => ReturnType<Parameters<Spoil>[2]>) => ReturnType<Parameters<Spoil>[2]>)[]

function open(): Ledger<string> {
  const spoil: Spoil = async (script, bucket, send) => {
    const answer = script === 'end' && bucket === bucketOf(away) ? answers.shift() : undefined
    return answer === undefined ? send() : answer(send)
  }
  const ledger = openProcess(on.group, { spoil })
  ledgers.push(ledger)
  return ledger
}

const lost = () => Promise.reject(new UnansweredError('no answer'))

/** Holds a stream that ends at home, and is kept to be ended at `away`. */
async function openWithOneKept(): Promise<{ ledger: Ledger<string>; id: string }> {
  const ledger = open()
  const held = await ledger.reserve(streamOf([home, away, third]), Date.now())
  if (held.kind !== 'held') throw new Error('not held')
  const { id } = held.reservation
  answers = [lost]
  await expect(ledger.abandon(id, Date.now())).rejects.toThrow(UnansweredError)
  return { ledger, id }
}

/** Each waits until as many have come. */
function together(count: number): (() => Promise<void>)[] {
  let open = (): void => undefined
  const all = new Promise<void>((resolve) => (open = resolve))
  let come = 0
  return Array.from({ length: count }, () => () => {
    if ((come += 1) === count) open()
    return all
  })
}

const told = (ended: readonly (readonly Ended<string>[])[]): string[] =>
  ended.flat().map(({ reservation, outcome }) => `${reservation.id} ${outcome}`)

test('what is tried by several rounds at once is told by one of them', async () => {
  const { ledger, id } = await openWithOneKept()
  answers = together(3).map((wait) => async (send) => wait().then(send))
  const rounds = await Promise.all([1, 2, 3].map(() => ledger.expire(Date.now())))
  expect(answers).toEqual([])
  expect(told(rounds)).toEqual([`${id} released`])
  expect(told([await ledger.expire(Date.now())])).toEqual([])
})

test('what failed in one round after another has done it is told no more', async () => {
  const { ledger, id } = await openWithOneKept()
  const [first, second] = together(2) as [() => Promise<void>, () => Promise<void>]
  let isDone = (): void => undefined
  const done = new Promise<void>((resolve) => (isDone = resolve))
  answers = [
    async (send) => first().then(send),
    async () => {
      await second()
      await done
      return lost()
    },
  ]
  const [one, other] = [ledger.expire(Date.now()), ledger.expire(Date.now())]
  expect(told([await one])).toEqual([`${id} released`])
  isDone()
  await expect(other).rejects.toThrow(UnansweredError)
  expect(told([await ledger.expire(Date.now())])).toEqual([])
})

test('what one call is told at home, and another does, is told by the one', async () => {
  const ledger = open()
  const held = await ledger.reserve(streamOf([home, away, third]), Date.now())
  if (held.kind !== 'held') throw new Error('not held')
  const { id } = held.reservation
  let isDone = (): void => undefined
  const done = new Promise<void>((resolve) => (isDone = resolve))
  answers = [() => done.then(lost), (send) => send()]
  const one = ledger.abandon(id, Date.now())
  // It comes to `away` with what the home said to the first.
  await expect.poll(() => answers.length).toBe(1)
  expect(await ledger.abandon(id, Date.now())).toBeUndefined()
  isDone()
  await expect(one).rejects.toThrow(UnansweredError)
  expect(told([await ledger.expire(Date.now())])).toEqual([`${id} released`])
})

test('a round begins nothing more when it has taken half a second, and goes on with the rest the next time', async () => {
  let monotonicMs = systemClock.monotonicMs()
  const clock = { monotonicMs: () => monotonicMs }
  let asked = 0
  const spoil: Spoil = async (script, _, send) => {
    if (script !== 'end') return send()
    asked += 1
    monotonicMs += 200
    return lost()
  }
  const ledger = openProcess(on.group, { spoil, clock })
  ledgers.push(ledger)
  for (let index = 0; index < 5; index += 1) {
    const { id } = streamOf()
    await ledger.reserve({ ...streamOf([{ ...home, amount: 0 }]), id }, Date.now())
    await ledger.abandon(id, Date.now()).catch(() => undefined)
  }
  asked = 0
  await expect(ledger.expire(Date.now())).rejects.toThrow(UnansweredError)
  expect(asked).toBe(3)
})

describe('what a request held that failed', () => {
  /** Its part at `away` was held, and it did not hear of that; nor does that node hear of the end. */
  async function refused(): Promise<Ledger<string>> {
    const ledger = openProcess(on.group, {
      spoil: async (script, bucket, send) => {
        if (bucket !== bucketOf(away)) return send()
        if (script !== 'reserve') return (answers.shift() ?? ((end) => end()))(send)
        await send()
        return lost()
      },
    })
    ledgers.push(ledger)
    await expect(ledger.reserve(streamOf(), Date.now())).rejects.toThrow(DependencyError)
    return ledger
  }

  test('is counted until it is given back', async () => {
    answers = [lost]
    const ledger = await refused()
    await expect.poll(() => ledger.size()).toMatchObject({ reservations: 0, toGiveBack: 1 })
    await ledger.expire(Date.now())
    expect(ledger.size()).toMatchObject({ reservations: 0, toGiveBack: 0 })
  })

  test('is given back at last by a process that closes', async () => {
    answers = [lost]
    const ledger = await refused()
    expect(await reservedIn(open())).toEqual([0, 10, 0])
    await ledger.close()
    expect(await reservedIn(open())).toEqual([0, 0, 0])
  })

  test('keeps no process from closing whose node hangs', async () => {
    const hangs = () => new Promise<never>(() => undefined)
    answers = [lost, hangs]
    const ledger = await refused()
    await ledger.close()
    expect(answers).toEqual([])
  })
})

test('what is asked for to be given back is counted', async () => {
  const ledger = open()
  const held = await open().reserve(streamOf([home, away]), Date.now())
  if (held.kind !== 'held') throw new Error('not held')
  const ended = ledger.abandon(held.reservation.id, Date.now())
  expect(ledger.size().toGiveBack).toBe(1)
  expect(await ended).toMatchObject({ outcome: 'released' })
  expect(ledger.size().toGiveBack).toBe(0)
})

test('what is on its way back for the first time is counted', async () => {
  const ledger = open()
  const held = await ledger.reserve(streamOf([home, away]), Date.now())
  if (held.kind !== 'held') throw new Error('not held')
  let pass = (): void => undefined
  const passed = new Promise<void>((resolve) => (pass = resolve))
  answers = [(send) => passed.then(send)]
  const ended = ledger.abandon(held.reservation.id, Date.now())
  await expect.poll(() => answers.length).toBe(0)
  expect(ledger.size().toGiveBack).toBe(1)
  pass()
  await ended
  expect(ledger.size().toGiveBack).toBe(0)
})

test('what Redis answers and cannot give back is waited for by a drain ten tries long, and tried on', async () => {
  const { ledger, id } = await openWithOneKept()
  const raised = () => Promise.reject(new ScriptError('raised'))
  // One that is away may come back.
  for (const [failure, times] of [
    [lost, 12],
    [raised, 9],
  ] as const) {
    answers = Array.from({ length: times }, () => failure)
    for (let round = 0; round < times; round += 1) {
      await expect(ledger.expire(Date.now())).rejects.toThrow()
    }
    expect([answers, ledger.size().toGiveBack]).toEqual([[], 1])
  }
  answers = [raised]
  await expect(ledger.expire(Date.now())).rejects.toThrow('raised')
  expect(ledger.size().toGiveBack).toBe(0)
  expect(told([await ledger.expire(Date.now())])).toEqual([`${id} released`])
})

test('what cannot be given back at once leaves room for others in the event loop', async () => {
  const ledger = open()
  const held = await Promise.all(
    Array.from({ length: 50 }, () => ledger.reserve(streamOf([away]), Date.now())),
  )
  const ids = held.flatMap((answer) => (answer.kind === 'held' ? [answer.reservation.id] : []))
  let tried = 0
  const fail = (): Promise<never> => {
    tried += 1
    return lost()
  }
  answers = Array.from({ length: 2 * ids.length }, () => fail)
  await Promise.allSettled(ids.map((id) => ledger.abandon(id, Date.now())))
  const [first, before] = [ids.length, tried]
  expect([first > 5, before]).toEqual([true, first])
  const round = ledger.expire(Date.now())
  await new Promise(setImmediate)
  expect(tried - before).toBeLessThan(5)
  await expect(round).rejects.toThrow('no answer')
  expect(tried).toBe(2 * first)
})
