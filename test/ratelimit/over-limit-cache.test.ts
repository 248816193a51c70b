import { expect, test } from 'vitest'
import type { Ask, Counters } from '../../src/ratelimit/counters.js'
import { createMemoryCounters } from '../../src/ratelimit/memory-counters.js'
import { withOverLimitCache } from '../../src/ratelimit/over-limit-cache.js'
import { at, createRig, createTestClock, D } from './rig.js'
import type { Rig, TestClock } from './rig.js'

/** Counts what the store is asked. */
function counted(counters: Counters, asked: (readonly Ask[])[]): Counters {
  return {
    ...counters,
    count(domain, asks) {
      asked.push(asks)
      return counters.count(domain, asks)
    },
  }
}

async function rigWith(
  options: { readonly stopWhenOver?: boolean; readonly maxBytes?: number; clock?: TestClock } = {},
  rules = [at('k2', '20/minute'), at('l', '9/hour')],
): Promise<{ readonly rig: Rig; readonly asked: (readonly Ask[])[] }> {
  const { stopWhenOver = false, maxBytes = 100_000, clock = createTestClock(60.25) } = options
  const asked: (readonly Ask[])[] = []
  const rig = await createRig(createMemoryCounters, rules, {
    clock,
    stopWhenOver,
    around: (counters) =>
      withOverLimitCache(counted(counters, asked), { clock, stopWhenOver, maxBytes }),
  })
  return { rig, asked }
}

test('S73: what is over is not asked for again, and answered the same', async () => {
  const { rig, asked } = await rigWith()
  const said = await rig.repeat(25, [D('k2=r')])
  expect(said.slice(20)).toEqual(Array.from({ length: 5 }, () => 'OVER: OVER 0 of 20/minute'))
  expect(asked).toHaveLength(21)
  expect(rig.measured('d.k2')).toEqual({
    total_hits: 25,
    over_limit: 5,
    over_limit_with_local_cache: 4,
    near_limit: 4,
    within_limit: 20,
  })
})

test('the other descriptors of the call are counted', async () => {
  const { rig, asked } = await rigWith()
  await rig.call([D('k2=r', { h: 21 })])
  expect(await rig.say([D('l=1'), D('k2=r'), D('l=2', { h: 2 })])).toBe(
    'OVER: OK 8 of 9/hour; OVER 0 of 20/minute; OK 7 of 9/hour',
  )
  expect(asked[1]).toHaveLength(2)
})

test('with stopWhenOver they are only asked for', async () => {
  const { rig } = await rigWith({ stopWhenOver: true })
  await rig.call([D('l=1'), D('k2=r', { h: 21 })])
  expect(await rig.say([D('l=1', { h: 3 }), D('k2=r')])).toBe(
    'OVER: OK 9 of 9/hour; OVER 0 of 20/minute',
  )
  expect(await rig.say([D('l=1', { h: 0 })])).toBe('OK: OK 9 of 9/hour')
})

test('with stopWhenOver hits are given back all the same', async () => {
  const { rig } = await rigWith({ stopWhenOver: true })
  await rig.call([D('l=1', { h: 4 })])
  await rig.call([D('k2=r', { h: 21 })])
  expect(await rig.say([D('l=1', { h: 3, refund: true }), D('k2=r')])).toBe(
    'OVER: OK 8 of 9/hour; OVER 0 of 20/minute',
  )
})

test('it is forgotten at the end of the window, to the millisecond', async () => {
  const clock = createTestClock(60.25)
  const { rig, asked } = await rigWith({ clock })
  await rig.call([D('k2=r', { h: 21 })])
  clock.setSeconds(119.999)
  expect(await rig.say([D('k2=r')])).toBe('OVER: OVER 0 of 20/minute')
  expect(rig.answers[1]?.statuses[0]?.resetMs).toBeCloseTo(1)
  expect(asked).toHaveLength(1)
  clock.setSeconds(120)
  expect(await rig.say([D('k2=r')])).toBe('OK: OK 19 of 20/minute')
})

test('it is forgotten in time, too, where the store took its time to answer', async () => {
  const clock = createTestClock(60.25)
  const rig = await createRig(createMemoryCounters, [at('k2', '20/minute')], {
    clock,
    around: (counters) => {
      const slow: Counters = {
        ...counters,
        async count(domain, asks) {
          const counts = await counters.count(domain, asks)
          clock.advanceMs(500)
          return counts
        },
      }
      return withOverLimitCache(slow, { clock, stopWhenOver: false, maxBytes: 100_000 })
    },
  })
  await rig.call([D('k2=r', { h: 21 })])
  clock.setSeconds(119.999)
  expect(await rig.say([D('k2=r')])).toBe('OVER: OVER 0 of 20/minute')
  clock.setSeconds(120)
  expect(await rig.say([D('k2=r')])).toBe('OK: OK 19 of 20/minute')
})

test('S73: all hits of what is remembered are measured as such', async () => {
  const { rig, asked } = await rigWith()
  await rig.call([D('k2=r', { h: 21 })])
  await rig.call([D('k2=r', { h: 3 })])
  expect(asked).toHaveLength(1)
  expect(rig.measured('d.k2')).toMatchObject({ over_limit: 4, over_limit_with_local_cache: 3 })
})

test('hits that are given back are heard', async () => {
  const { rig } = await rigWith()
  await rig.call([D('k2=r', { h: 21 })])
  expect(await rig.say([D('k2=r', { h: 2, refund: true })])).toBe('OK: OK 1 of 20/minute')
  expect(await rig.say([D('k2=r')])).toBe('OK: OK 0 of 20/minute')
})

test('hits that are given back are heard by what was remembered longest, too', async () => {
  const { rig, asked } = await rigWith({ maxBytes: 256 * 4 }, [at('k', '1/hour')])
  // Room for two, twice: with the third the first two are the older half.
  for (const value of ['a', 'b', 'c']) await rig.call([D(`k=${value}`, { h: 2 })])
  asked.splice(0)
  expect(await rig.say([D('k=a', { h: 0 })])).toBe('OVER: OVER 0 of 1/hour')
  expect(asked).toHaveLength(0)
  expect(await rig.say([D('k=a', { refund: true })])).toBe('OK: OK 0 of 1/hour')
  expect(await rig.say([D('k=a', { h: 0 })])).toBe('OK: OK 0 of 1/hour')
})

test('a limit that was raised is asked for', async () => {
  const { rig } = await rigWith()
  await rig.call([D('any=x', { h: 5, limit: '3/day' })])
  expect(await rig.say([D('any=x', { limit: '3/day' })])).toBe('OVER: OVER 0 of 3/day')
  expect(await rig.say([D('any=x', { limit: '2/day' })])).toBe('OVER: OVER 0 of 2/day')
  expect(await rig.say([D('any=x', { limit: '8/day' })])).toBe('OK: OK 2 of 8/day')
})

test('what is over in one unit is asked for in another', async () => {
  const { rig } = await rigWith()
  await rig.call([D('any=x', { h: 5, limit: '3/day' })])
  const both = [D('any=x', { limit: '3/day' }), D('any=x', { limit: '3/hour' })]
  expect(await rig.say([...both, ...both])).toBe(
    'OVER: OVER 0 of 3/day; OK 2 of 3/hour; OVER 0 of 3/day; OK 1 of 3/hour',
  )
})

test('its memory is bounded: what was over first is asked for again', async () => {
  const { rig, asked } = await rigWith({ maxBytes: 256 * 8 }, [at('k', '0/hour')])
  for (let value = 0; value < 100; value += 1) await rig.call([D(`k=${String(value)}`)])
  asked.splice(0)
  for (let value = 99; value >= 92; value -= 1) await rig.call([D(`k=${String(value)}`)])
  expect(asked).toHaveLength(0)
  await rig.call([D('k=91')])
  expect(asked).toHaveLength(1)
})
