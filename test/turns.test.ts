import { expect, test } from 'vitest'
import { AbandonedError } from '../src/errors.js'
import { createTurns } from '../src/turns.js'
import type { Turn } from '../src/turns.js'

interface Work {
  readonly signal?: AbortSignal
  readonly takesMs?: number
  /** It began in this one, and goes on. */
  readonly after?: Turn | undefined
}

const unheard = new AbortController().signal

/** Turns that the test takes; each piece of work takes a while of them. */
function manual(workMs: number) {
  let nowMs = 0
  let due: (() => void)[] = []
  const turns = createTurns({
    clock: { monotonicMs: () => nowMs },
    next: (run) => due.push(run),
  })
  const begun: string[] = []
  return {
    begun,
    /** One that is given up is over when it is told so. */
    async work(name: string, { signal = unheard, takesMs = workMs, after }: Work = {}) {
      const begins = after === undefined ? turns.mine(signal) : after.goOn(signal)
      const turn = await begins.catch((error: unknown) => {
        if (error instanceof AbandonedError) return undefined
        throw error
      })
      begun.push(name)
      if (turn !== undefined) nowMs += takesMs
      return turn
    },
    pass(ms: number): void {
      nowMs += ms
    },
    /** What is due in it runs, and after each what that makes possible. */
    async turn(): Promise<void> {
      const now = due
      due = []
      for (const run of now) {
        run()
        await new Promise(setImmediate)
      }
    },
    isQuiet: () => due.length === 0,
  }
}

test('what comes in one turn begins at once, as long as that has time left', async () => {
  const it = manual(0.1)
  for (const name of ['a', 'b', 'c']) await it.work(name)
  expect(it.begun).toEqual(['a', 'b', 'c'])
  await it.turn()
  expect(it.isQuiet()).toBe(true)
})

test('then it begins in later ones, in the order in which it came, and what comes meanwhile behind it', async () => {
  const it = manual(2)
  await it.work('a')
  void it.work('b')
  void it.work('c')
  await new Promise(setImmediate)
  expect(it.begun).toEqual(['a'])
  await it.turn()
  expect(it.begun).toEqual(['a', 'b'])
  void it.work('d')
  await it.turn()
  expect(it.begun).toEqual(['a', 'b', 'c'])
  await it.turn()
  expect(it.begun).toEqual(['a', 'b', 'c', 'd'])
  for (let times = 0; times < 3; times += 1) await it.turn()
  expect(it.isQuiet()).toBe(true)
  await it.work('e')
  expect(it.begun).toContain('e')
})

test('of those that wait several begin in one turn, eight at most', async () => {
  const it = manual(0.1)
  await it.work('first')
  it.pass(2)
  for (let index = 0; index < 20; index += 1) void it.work(String(index))
  const counts: number[] = []
  for (let times = 0; times < 4; times += 1) {
    const before = it.begun.length
    await it.turn()
    counts.push(it.begun.length - before)
  }
  expect(counts[0]).toBe(1)
  expect(Math.max(...counts)).toBeLessThanOrEqual(8)
  expect(it.begun).toEqual(['first', ...Array.from({ length: 20 }, (_, index) => String(index))])
})

test('what was given up while it waited takes no time of others', async () => {
  const it = manual(2)
  const given = new AbortController()
  await it.work('a')
  void it.work('given up', given)
  void it.work('b')
  await new Promise(setImmediate)
  given.abort()
  await it.turn()
  expect(it.begun).toEqual(['a', 'given up', 'b'])
})

test('of what was given up no more than some is over in one turn', async () => {
  const it = manual(2)
  const given = new AbortController()
  await it.work('a')
  for (let index = 0; index < 100; index += 1) void it.work('given up', given)
  await new Promise(setImmediate)
  given.abort()
  await it.turn()
  expect(it.begun.length).toBeLessThan(40)
  for (let times = 0; times < 9; times += 1) await it.turn()
  expect(it.begun.length).toBe(101)
})

test('each later turn ends after 2 ms as well', async () => {
  const it = manual(2)
  await it.work('first')
  for (let index = 0; index < 9; index += 1) void it.work(String(index), { takesMs: 1 })
  await new Promise(setImmediate)
  const counts: number[] = []
  for (let times = 0; times < 4; times += 1) {
    const before = it.begun.length
    await it.turn()
    counts.push(it.begun.length - before)
  }
  expect(counts).toEqual([1, 2, 2, 2])
})

test('a turn has time for another piece until 2 ms have passed, and then none', async () => {
  const it = manual(1.9)
  await it.work('a')
  await it.work('b')
  void it.work('c')
  await new Promise(setImmediate)
  expect(it.begun).toEqual(['a', 'b'])
})

test('what comes while others wait begins behind them, though the turn has time left', async () => {
  const it = manual(2)
  await it.work('a')
  for (const name of ['b', 'c', 'd']) void it.work(name, { takesMs: 0.1 })
  await new Promise(setImmediate)
  await it.turn()
  expect(it.begun).toEqual(['a', 'b'])
  void it.work('late', { takesMs: 0.1 })
  await new Promise(setImmediate)
  expect(it.begun).toEqual(['a', 'b'])
  for (let times = 0; times < 3; times += 1) await it.turn()
  expect(it.begun).toEqual(['a', 'b', 'c', 'd', 'late'])
})

test('work goes on at once as long as nothing else has begun', async () => {
  const it = manual(0.1)
  const a = await it.work('a')
  await it.work('a goes on', { after: a })
  const b = await it.work('b')
  void it.work('a waits', { after: a })
  await it.work('b goes on', { after: b })
  expect(it.begun).toEqual(['a', 'a goes on', 'b', 'b goes on'])
  while (!it.isQuiet()) await it.turn()
  expect(it.begun.slice(4)).toEqual(['a waits'])
  await it.work('a after a pause', { after: a })
  expect(it.begun.at(-1)).toBe('a after a pause')
})

test('work that went on to wait and was given up takes no time of others', async () => {
  const it = manual(2)
  const given = new AbortController()
  const a = await it.work('a', { takesMs: 0 })
  await it.work('b')
  void it.work('a goes on', { after: a, signal: given.signal })
  void it.work('c')
  await new Promise(setImmediate)
  expect(it.begun).toEqual(['a', 'b'])
  given.abort()
  await it.turn()
  expect(it.begun).toEqual(['a', 'b', 'a goes on', 'c'])
})

test('of work that waited for one thing each piece goes on in turn, though none has taken time yet', async () => {
  const it = manual(1)
  const pieces: (Turn | undefined)[] = []
  for (let index = 0; index < 20; index += 1) {
    pieces.push(await it.work(`${String(index)} begins`, { takesMs: 0 }))
  }
  it.begun.length = 0
  for (const [index, after] of pieces.entries()) void it.work(String(index), { after })
  const counts: number[] = []
  while (it.begun.length < 20) {
    const before = it.begun.length
    await it.turn()
    counts.push(it.begun.length - before)
  }
  expect(Math.max(...counts)).toBeLessThanOrEqual(2)
})
