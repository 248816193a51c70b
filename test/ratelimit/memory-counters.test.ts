import { expect, test } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import { createMemoryCounters, MAX_COUNTERS } from '../../src/ratelimit/memory-counters.js'
import type { RateLimit } from '../../src/ratelimit/rule.js'
import { describeCounters, describeOwnCounters } from './counters.contract.js'
import { at, createRig, createTestClock, D } from './rig.js'

describeCounters('in memory', createMemoryCounters)
describeOwnCounters('in memory', createMemoryCounters)

test('a flood of new descriptors pushes out nothing that still limits, and fails', async () => {
  const rig = await createRig(
    (options) => createMemoryCounters({ ...options, maxCounters: 3 }),
    [at('k', '1/minute'), at('l', '1/hour')],
    { clock: createTestClock(59) },
  )
  await rig.call([D('k=1'), D('k=2'), D('l=1')])
  const flood = rig.call([D('l=2'), D('k=1')])
  await expect(flood).rejects.toThrow(DependencyError)
  await expect(flood).rejects.toThrow('no room for another counter')
  // Nothing of the call that failed was counted, and what is known is still answered.
  expect(await rig.say([D('k=1', { h: 0 }), D('l=1')])).toBe(
    'OVER: OK 0 of 1/minute; OVER 0 of 1/hour',
  )
  // To ask, and to give back, needs no room.
  expect(await rig.say([D('l=2', { h: 0 }), D('l=3', { refund: true })])).toBe(
    'OK: OK 1 of 1/hour; OK 1 of 1/hour',
  )
  // The minute is over, and its counters are gone though nobody asks for one of a minute.
  rig.clock.setSeconds(60)
  expect(await rig.say([D('l=2'), D('l=3')])).toBe('OK: OK 0 of 1/hour; OK 0 of 1/hour')
})

test('there is room for a million counters, as nothing else is said', async () => {
  const counters = createMemoryCounters({ stopWhenOver: false, clock: createTestClock(59) })
  const limit: RateLimit = { requestsPerUnit: 1, unit: 'hour' }
  const some = (from: number, to: number) =>
    counters.count(
      'd',
      Array.from({ length: to - from }, (_, index) => {
        const counted = [{ key: 'k', value: String(from + index) }]
        return { counted, limit, hits: 1, isRefund: false }
      }),
    )
  for (let from = 0; from < MAX_COUNTERS; from += 10_000) await some(from, from + 10_000)
  await expect(some(MAX_COUNTERS, MAX_COUNTERS + 1)).rejects.toThrow('no room for another counter')
})

test('a counter that everything was given back to takes no room', async () => {
  const rig = await createRig(
    (options) => createMemoryCounters({ ...options, maxCounters: 1 }),
    [at('k', '5/hour')],
  )
  await rig.call([D('k=1')])
  await rig.call([D('k=1', { refund: true })])
  expect(await rig.say([D('k=2')])).toBe('OK: OK 4 of 5/hour')
})

test('a call for which there is room in part counts nothing', async () => {
  const rig = await createRig(
    (options) => createMemoryCounters({ ...options, maxCounters: 2 }),
    [at('k', '5/hour')],
  )
  await rig.call([D('k=1')])
  await expect(rig.call([D('k=2'), D('k=3')])).rejects.toThrow(DependencyError)
  // One counter that stands twice needs one place.
  expect(await rig.say([D('k=2'), D('k=2')])).toBe('OK: OK 4 of 5/hour; OK 3 of 5/hour')
})
