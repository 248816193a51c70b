import { expect, test } from 'vitest'
import { createTurns } from '../src/turns.js'

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
    async work(name: string, signal = new AbortController().signal): Promise<void> {
      await turns.mine(signal)
      begun.push(name)
      if (!signal.aborted) nowMs += workMs
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
  void it.work('given up', given.signal)
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
  for (let index = 0; index < 100; index += 1) void it.work('given up', given.signal)
  await new Promise(setImmediate)
  given.abort()
  await it.turn()
  expect(it.begun.length).toBeLessThan(40)
  for (let times = 0; times < 9; times += 1) await it.turn()
  expect(it.begun.length).toBe(101)
})
