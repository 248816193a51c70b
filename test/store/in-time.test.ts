import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { inTime, UnansweredError } from '../../src/store/store.js'

let nowMs = 0
const clock = { monotonicMs: () => nowMs }

beforeEach(() => {
  nowMs = 1000
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** What has become of it, after all that is ready to run did. */
async function fateOf(promise: Promise<unknown>): Promise<unknown> {
  let fate: unknown = 'waiting'
  promise.then(
    (answer) => (fate = answer),
    (error: unknown) => (fate = error),
  )
  await new Promise((resolve) => setImmediate(resolve))
  return fate
}

/** The timer fires while the clock shows this. */
function lookAt(atMs: number): void {
  nowMs = atMs
  vi.advanceTimersToNextTimer()
}

const never = new Promise<string>(() => undefined)

test.each([1100, 1100.25, 9000])(
  'gives up at the first look at the clock when it is due: %d',
  async (atMs) => {
    const waiting = inTime(clock, never, 1100)
    lookAt(atMs)
    expect(await fateOf(waiting)).toBeInstanceOf(UnansweredError)
    expect(vi.getTimerCount()).toBe(0)
  },
)

test('gives up nothing before it is due, though the timer fires early', async () => {
  const waiting = inTime(clock, never, 1100)
  lookAt(1099.75)
  expect(await fateOf(waiting)).toBe('waiting')
  lookAt(1100)
  expect(await fateOf(waiting)).toBeInstanceOf(UnansweredError)
})

test('gives up at once where it is due already', async () => {
  expect(await fateOf(inTime(clock, never, 1000))).toBeInstanceOf(UnansweredError)
})

test('looks when it is due, and no later', async () => {
  const waiting = inTime(clock, never, 1099.5)
  expect(vi.getTimerCount()).toBe(1)
  vi.advanceTimersByTime(99)
  nowMs = 1099.5
  vi.advanceTimersByTime(1)
  expect(await fateOf(waiting)).toBeInstanceOf(UnansweredError)
})

test('takes an answer that lies there when it is due', async () => {
  const waiting = inTime(clock, Promise.resolve('answer'), 1000)
  expect(await fateOf(waiting)).toBe('answer')
  expect(vi.getTimerCount()).toBe(0)
})

test('passes on what failed, and leaves no timer', async () => {
  const waiting = inTime(clock, Promise.reject(new Error('lost')), 1100)
  expect(await fateOf(waiting)).toEqual(new Error('lost'))
  expect(vi.getTimerCount()).toBe(0)
})
