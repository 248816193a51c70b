import { expect, test } from 'vitest'
import type { Call } from '../../src/store/call.js'
import { createProbes } from '../../src/store/probes.js'
import { createScript } from '../../src/store/store.js'

const script = createScript('return 1')

const callOf = (of: string, key = of): Call => ({
  script,
  keys: [key],
  argsUntil: () => [],
  dueMonotonicMs: 0,
  probe: { of, timeoutMs: 1, argsUntil: () => [] },
})

test('of the calls that failed the one that waits longest is next, and of one thing the last', () => {
  const probes = createProbes()
  expect(probes.next()).toBeUndefined()
  probes.failed(callOf('a', 'first'))
  probes.failed(callOf('b'))
  expect(probes.next()?.call.keys).toEqual(['first'])
  probes.failed(callOf('a', 'second'))
  expect(probes.next()?.call.keys).toEqual(['b'])
  probes.failed(callOf('b'))
  expect(probes.next()?.call.keys).toEqual(['second'])
})

test('a call that does not say how to ask it again is none of them', () => {
  const probes = createProbes()
  probes.failed({ ...callOf('a'), probe: undefined })
  expect(probes.next()).toBeUndefined()
})

test('those of eight things are remembered, until there is an answer', () => {
  const probes = createProbes()
  for (let of = 0; of < 9; of += 1) probes.failed(callOf(String(of)))
  const kept: (string | undefined)[] = []
  for (let number = 0; number < 8; number += 1) {
    const next = probes.next()
    kept.push(next?.probe.of)
    if (next !== undefined) probes.failed(next.call)
  }
  expect(kept).toEqual(['1', '2', '3', '4', '5', '6', '7', '8'])
  expect(probes.next()?.probe.of).toBe('1')
  probes.answered()
  expect(probes.next()).toBeUndefined()
})
