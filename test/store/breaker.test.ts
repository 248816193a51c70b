import { expect, test } from 'vitest'
import { createBreaker } from '../../src/store/breaker.js'
import type { Admitted } from '../../src/store/breaker.js'

function createWorld() {
  let nowMs = 0
  const events: string[] = []
  const breaker = createBreaker({
    faultsToOpen: 3,
    pauseMs: 100,
    clock: { monotonicMs: () => nowMs },
    onOpen: () => events.push('open'),
    onClose: () => events.push('close'),
  })
  const admit = (): Admitted => {
    const admitted = breaker.admit()
    if (admitted === undefined) throw new Error('refused')
    return admitted
  }
  const fail = (times: number): void => {
    for (let time = 0; time < times; time += 1) admit().failed()
  }
  return { breaker, admit, fail, events, pass: (ms: number) => (nowMs += ms) }
}

test('lets every call through as long as some succeed', () => {
  const { admit, fail, events } = createWorld()
  for (let round = 0; round < 10; round += 1) {
    fail(2)
    admit().succeeded()
  }
  expect(events).toEqual([])
})

test('refuses after so many faults in a row, until the pause is over', () => {
  const { breaker, fail, pass, events } = createWorld()
  fail(3)
  expect(events).toEqual(['open'])
  expect(breaker.isOpen()).toBe(true)
  expect(breaker.admit()).toBeUndefined()
  pass(99)
  expect(breaker.admit()).toBeUndefined()
  pass(1)
  expect(breaker.admit()).toBeDefined()
})

test('lets one probe through at a time, whatever calls from before still fail', () => {
  const { breaker, admit, fail, pass } = createWorld()
  const slow = admit()
  fail(3)
  pass(100)
  const probe = admit()
  expect(breaker.admit()).toBeUndefined()
  slow.failed()
  pass(100)
  expect(breaker.admit()).toBeUndefined()
  probe.failed()
  expect(breaker.admit()).toBeUndefined()
  pass(100)
  expect(breaker.admit()).toBeDefined()
})

test('is closed by a probe that succeeds', () => {
  const { admit, fail, pass, events } = createWorld()
  fail(3)
  pass(100)
  admit().succeeded()
  expect(events).toEqual(['open', 'close'])
  fail(2)
  admit().succeeded()
  expect(events).toEqual(['open', 'close'])
})

test('counts what is undecided neither way', () => {
  const { admit, fail, events } = createWorld()
  for (let time = 0; time < 5; time += 1) admit().undecided()
  expect(events).toEqual([])
  fail(2)
  admit().undecided()
  fail(1)
  expect(events).toEqual(['open'])
})

test('lets another probe through, after a pause, where one is undecided', () => {
  const { breaker, admit, fail, pass, events } = createWorld()
  const slow = admit()
  fail(3)
  pass(100)
  const probe = admit()
  slow.undecided()
  pass(100)
  expect(breaker.admit()).toBeUndefined()
  probe.undecided()
  expect(breaker.admit()).toBeUndefined()
  pass(99)
  expect(breaker.admit()).toBeUndefined()
  pass(1)
  admit().succeeded()
  expect(events).toEqual(['open', 'close'])
})
