import { describe, expect, test } from 'vitest'
import { describeCounting } from './counting.contract.js'
import { describeModes } from './modes.contract.js'
import { describePatterns } from './patterns.contract.js'
import { at, createRig, createTestClock, D } from './rig.js'
import type { CreateCounters } from './rig.js'

/** All that holds for every kind of counters. */
export function describeCounters(name: string, create: CreateCounters): void {
  describeCounting(name, create)
  describeModes(name, create)
  describePatterns(name, create)

  describe(`beyond what envoyproxy/ratelimit does, ${name}`, () => {
    test('hits are given back, never below 0', async () => {
      const rig = await createRig(create, [at('k', '10/hour')])
      await rig.call([D('k=r')], { h: 8 })
      expect(await rig.say([D('k=r', { h: 3, refund: true })])).toBe('OK: OK 5 of 10/hour')
      expect(await rig.say([D('k=r', { h: 9, refund: true })])).toBe('OK: OK 10 of 10/hour')
      expect(await rig.say([D('k=r', { h: 4 })])).toBe('OK: OK 6 of 10/hour')
      expect(await rig.say([D('k=r', { refund: true })])).toBe('OK: OK 7 of 10/hour')
      expect(rig.measured('d.k')).toMatchObject({ total_hits: 12 })
    })

    test('hits are given back though the call is over and stops counting', async () => {
      const rig = await createRig(create, [at('k', '10/hour'), at('l', '1/hour')], {
        stopWhenOver: true,
      })
      await rig.call([D('k=r', { h: 5 })])
      expect(await rig.say([D('k=r', { h: 2, refund: true }), D('l=r', { h: 2 })])).toBe(
        'OVER: OK 7 of 10/hour; OVER 0 of 1/hour',
      )
    })

    test('hits that are given back never make a call stop counting', async () => {
      const rig = await createRig(create, [at('k', '10/hour'), at('l', '1/hour')], {
        stopWhenOver: true,
      })
      await rig.call([D('k=r', { h: 8 })])
      expect(await rig.say([D('k=r', { h: 5, refund: true }), D('l=r')])).toBe(
        'OK: OK 7 of 10/hour; OK 0 of 1/hour',
      )
    })

    test('hits that are given back to what stays over make no call stop counting', async () => {
      const rig = await createRig(create, [at('k', '10/hour'), at('l', '1/hour')], {
        stopWhenOver: true,
      })
      await rig.call([D('k=r', { h: 20 })])
      // To 15, and the other one is counted.
      expect(await rig.say([D('k=r', { h: 5, refund: true }), D('l=r')])).toBe(
        'OVER: OVER 0 of 10/hour; OK 0 of 1/hour',
      )
    })

    test.each([2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])(
      'so many hits are over the limit however often they come: %s',
      async (h) => {
        const rig = await createRig(create, [at('k', '4294967295/hour')])
        expect(new Set(await rig.repeat(3, [D('k=r', { h })]))).toEqual(
          new Set(['OVER: OVER 0 of 4294967295/hour']),
        )
        expect(await rig.say([D('k=r')])).toBe('OVER: OVER 0 of 4294967295/hour')
      },
    )

    test('with stopWhenOver what comes to be over is seen before anything of the call is counted', async () => {
      const rig = await createRig(create, [at('k', '10/hour')], { stopWhenOver: true })
      await rig.call([D('k=r', { h: 4 })])
      expect(await rig.say([D('k=r', { h: 8 }), D('k=r', { h: 3 })])).toBe(
        'OVER: OVER 0 of 10/hour; OVER 0 of 10/hour',
      )
      // To 12, and not to 15.
      expect(await rig.say([D('k=r', { h: 3, refund: true })])).toBe('OK: OK 1 of 10/hour')
      // At 9 the second is over, though the first gives back: so it is one of those that count.
      expect(await rig.say([D('k=r', { h: 5, refund: true }), D('k=r', { h: 2 })])).toBe(
        'OK: OK 6 of 10/hour; OK 4 of 10/hour',
      )
    })

    test('with stopWhenOver a descriptor that stands twice is counted when each alone fits', async () => {
      const rig = await createRig(create, [at('k', '1/hour'), at('l', '5/hour')], {
        stopWhenOver: true,
      })
      expect(await rig.say([D('k=r'), D('k=r'), D('l=r')])).toBe(
        'OVER: OK 0 of 1/hour; OVER 0 of 1/hour; OK 4 of 5/hour',
      )
    })
  })
}

/** What counters do that no other service has to agree with. */
export function describeOwnCounters(name: string, create: CreateCounters): void {
  test(`a clock that is set back by a window admits nothing more, ${name}`, async () => {
    const rig = await createRig(create, [at('k', '1/minute')], { clock: createTestClock(120) })
    await rig.call([D('k=r')])
    rig.clock.setSeconds(119)
    expect(await rig.say([D('k=r')])).toBe('OVER: OVER 0 of 1/minute')
    // Further back it is a clock that was wrong before.
    rig.clock.setSeconds(59)
    expect(await rig.say([D('k=r')])).toBe('OK: OK 0 of 1/minute')
  })

  test(`a counter stops at the largest that is exact, ${name}`, async () => {
    const rig = await createRig(create, [at('k', '5/hour')])
    const hits = 2n ** 60n
    await rig.repeat(3, [D('k=r', { h: hits })])
    expect(await rig.say([D('k=r', { h: hits, refund: true })])).toBe('OK: OK 5 of 5/hour')
  })

  test(`domains, units and descriptors are counted apart, ${name}`, async () => {
    const counters = await create({ stopWhenOver: false, clock: createTestClock() })
    const counted = [{ key: 'k', value: 'v' }]
    const ask = {
      counted,
      limit: { requestsPerUnit: 5, unit: 'day' },
      hits: 1,
      isRefund: false,
    } as const
    const calls = [
      ['d', ask],
      ['e', ask],
      ['d', { ...ask, limit: { ...ask.limit, unit: 'hour' } }],
      ['d', { ...ask, counted: [...counted, ...counted] }],
      ['d', { ...ask, counted: [] }],
    ] as const
    for (const [domain, each] of calls) {
      expect((await counters.count(domain, [each]))[0]).toMatchObject({ before: 0, after: 1 })
    }
    // Another limit is the same counter.
    const other = { ...ask, limit: { ...ask.limit, requestsPerUnit: 9 } }
    expect((await counters.count('d', [other]))[0]).toMatchObject({ before: 1, after: 2 })
  })

  // Each pair is spelled the same where a length is left out: of both, of the value, of the key, of the domain.
  test.each<readonly [string, Counted, Counted]>([
    ['a key and its value', { entries: [['a', 'bc']] }, { entries: [['ab', 'c']] }],
    [
      'a value and the next entry',
      {
        entries: [
          ['k', 'v'],
          ['a', 'b'],
        ],
      },
      { entries: [['k', 'v1:ab']] },
    ],
    [
      'a key and the entry before it',
      {
        entries: [
          ['k', 'v'],
          ['a', 'b'],
        ],
      },
      { entries: [['k1:va', 'b']] },
    ],
    [
      'a domain and its unit',
      { domain: 'd', entries: [['k', 'xday1:k1:v']] },
      { domain: 'dday1:k10:x', entries: [['k', 'v']] },
    ],
  ])(`what runs together is counted apart: %s, ${name}`, async (_, first, second) => {
    const counters = await create({ stopWhenOver: false, clock: createTestClock() })
    for (const { domain = 'd', entries } of [first, second]) {
      const ask = {
        counted: entries.map(([key, value]) => ({ key, value })),
        limit: { requestsPerUnit: 5, unit: 'day' },
        hits: 1,
        isRefund: false,
      } as const
      expect((await counters.count(domain, [ask]))[0]).toMatchObject({ before: 0, after: 1 })
    }
  })

  test(`one descriptor in two units is two counters, also in one call, ${name}`, async () => {
    const rig = await createRig(create, [])
    const twice = [D('k=v', { limit: '9/day' }), D('k=v', { limit: '9/hour' })]
    expect(await rig.say([...twice, ...twice])).toBe(
      'OK: OK 8 of 9/day; OK 8 of 9/hour; OK 7 of 9/day; OK 7 of 9/hour',
    )
  })

  test(`S78: descriptors that are spelled alike are counted apart, ${name}`, async () => {
    const below = (key: string) => [at(key, '5/minute')]
    const rig = await createRig(create, [
      at('a', '5/minute', { below: below('x') }),
      at('a_b', '5/minute'),
      at('k', '5/minute'),
      at('k=1_l', undefined, { below: below('m') }),
    ])
    for (const [first, second] of [
      ['a=b_c', 'a_b=c'],
      ['a=b,x=1', 'a=b_x_1'],
      ['k=\uD800', 'k=\uD801'],
    ] as const) {
      await rig.repeat(5, [D(first)])
      expect(await rig.say([D(second)])).toBe('OK: OK 4 of 5/minute')
    }
  })
}

/** What a counter is of: the domain is `d` unless said otherwise. */
interface Counted {
  readonly domain?: string
  readonly entries: readonly (readonly [key: string, value: string])[]
}
