import { expect, test } from 'vitest'
import { createTurns } from '../src/turns.js'

/** Turns that the test takes. */
function manual() {
  let nowMs = 0
  let due: (() => void)[] = []
  const turns = createTurns({
    clock: { monotonicMs: () => nowMs },
    next: (run) => due.push(run),
  })
  const begun: string[] = []
  return {
    begun,
    pass: (ms: number) => {
      nowMs += ms
    },
    async work(name: string): Promise<void> {
      await turns.mine()
      begun.push(name)
    },
    /** What is due next runs, and what follows from it at once. */
    async nextTurn(): Promise<void> {
      const now = due
      due = []
      for (const run of now) run()
      await new Promise(setImmediate)
    },
    isQuiet: () => due.length === 0,
  }
}

test('what comes in one turn begins at once, as long as that has time left', async () => {
  const it = manual()
  for (const name of ['a', 'b', 'c']) await it.work(name)
  expect(it.begun).toEqual(['a', 'b', 'c'])
  await it.nextTurn()
  expect(it.isQuiet()).toBe(true)
})

test('then it begins one in a turn, in the order in which it came, and what comes meanwhile behind it', async () => {
  const it = manual()
  await it.work('a')
  it.pass(2)
  void it.work('b')
  void it.work('c')
  await new Promise(setImmediate)
  expect(it.begun).toEqual(['a'])
  await it.nextTurn()
  expect(it.begun).toEqual(['a', 'b'])
  void it.work('d')
  await it.nextTurn()
  expect(it.begun).toEqual(['a', 'b', 'c'])
  await it.nextTurn()
  expect(it.begun).toEqual(['a', 'b', 'c', 'd'])
  await it.nextTurn()
  expect(it.isQuiet()).toBe(true)
  await it.work('e')
  expect(it.begun).toContain('e')
})
