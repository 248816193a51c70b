import { expect, test } from 'vitest'
import { createSilence } from '../../src/store/silence.js'

test('a server is silent from when it was asked, or from its last answer, until it owes none', () => {
  let nowMs = 100
  const silence = createSilence({ monotonicMs: () => nowMs })
  expect(silence.ms()).toBe(0)
  nowMs = 110
  const [first, second] = [silence.sent(), silence.sent()]
  expect(silence.ms()).toBe(0)
  nowMs = 130
  const third = silence.sent()
  expect(silence.ms()).toBe(20)
  nowMs = 140
  first()
  expect(silence.ms()).toBe(0)
  nowMs = 145
  second()
  nowMs = 150
  expect(silence.ms()).toBe(5)
  third()
  nowMs = 1000
  expect(silence.ms()).toBe(0)
  silence.sent()
  nowMs = 1001
  expect(silence.ms()).toBe(1)
})

test('what is owed by a connection that was given up does not count, whether its calls fail later or not', () => {
  let nowMs = 100
  const silence = createSilence({ monotonicMs: () => nowMs })
  const old = silence.sent()
  silence.sent()
  nowMs = 130
  silence.forget()
  expect(silence.ms()).toBe(0)
  nowMs = 140
  const next = silence.sent()
  nowMs = 150
  old()
  expect(silence.ms()).toBe(10)
  next()
  nowMs = 160
  expect(silence.ms()).toBe(0)
})
