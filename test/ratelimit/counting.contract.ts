import { describe, expect, test } from 'vitest'
import { at, createRig, createTestClock, D } from './rig.js'
import type { CreateCounters } from './rig.js'

// The numbers are those of the scenarios that envoyproxy/ratelimit is known by: what it does, in its own tests or code.

function range(from: number, to: number): readonly number[] {
  return Array.from({ length: Math.abs(to - from) + 1 }, (_, index) =>
    from < to ? from + index : from - index,
  )
}

/** What is looked up, and how it is counted. */
export function describeCounting(name: string, create: CreateCounters): void {
  describe(`counting, ${name}`, () => {
    test('S1: an unknown domain limits nothing, and is told', async () => {
      const rig = await createRig(create, [at('x', '5/second')])
      expect(await rig.say([D('x=1')], { domain: 'foo' })).toBe('OK: NL')
      expect(rig.answers[0]?.isDomainUnknown).toBe(true)
      await rig.call([D('x=1')])
      expect(rig.answers[1]?.isDomainUnknown).toBe(false)
    })

    test('S2: a descriptor without a rule is not limited', async () => {
      const rig = await createRig(create, [at('k1', '50/second')])
      expect(await rig.say([D('zz=1')])).toBe('OK: NL')
    })

    test('S3: what is left, and when the window is over', async () => {
      const rig = await createRig(create, [at('k1', '50/second')])
      const { statuses } = await rig.call([D('k1=foo')])
      expect(statuses).toEqual([
        {
          isOver: false,
          limit: { requestsPerUnit: 50, unit: 'second' },
          name: '',
          remaining: 49,
          resetMs: 500,
        },
      ])
    })

    test('S4: 20 of 25 pass, and the others are over', async () => {
      const rig = await createRig(create, [at('k2', '20/minute')])
      expect(await rig.repeat(25, [D('k2=r')])).toEqual([
        ...range(19, 0).map((left) => `OK: OK ${String(left)} of 20/minute`),
        ...range(1, 5).map(() => 'OVER: OVER 0 of 20/minute'),
      ])
      expect(rig.measured('d.k2')).toEqual({
        total_hits: 25,
        over_limit: 5,
        near_limit: 4,
        within_limit: 20,
      })
    })

    test('S5: the whole is over when one is, and the others count on', async () => {
      const rig = await createRig(create, [at('k2', '20/minute'), at('k3', '10/hour')])
      expect(await rig.repeat(15, [D('k2=r'), D('k3=r')])).toEqual([
        ...range(9, 0).map(
          (left) => `OK: OK ${String(left + 10)} of 20/minute; OK ${String(left)} of 10/hour`,
        ),
        ...range(9, 5).map((left) => `OVER: OK ${String(left)} of 20/minute; OVER 0 of 10/hour`),
      ])
    })

    test('S6: with stopWhenOver a call that is over counts nothing else', async () => {
      const rig = await createRig(create, [at('k2', '20/minute'), at('k3', '10/hour')], {
        stopWhenOver: true,
      })
      expect((await rig.repeat(15, [D('k2=r'), D('k3=r')])).slice(10)).toEqual(
        range(1, 5).map(() => 'OVER: OK 10 of 20/minute; OVER 0 of 10/hour'),
      )
      // What was over did count.
      expect(await rig.say([D('k3=r', { h: 5, refund: true })])).toBe('OK: OK 0 of 10/hour')
      expect(await rig.say([D('k3=r')])).toBe('OVER: OVER 0 of 10/hour')
    })

    test('S7: a limit of 0 refuses the first hit', async () => {
      const rig = await createRig(create, [at('b', '0/second')])
      expect(await rig.say([D('b=foo')])).toBe('OVER: OVER 0 of 0/second')
    })

    test('S8: a limit of 0 does not refuse to be asked', async () => {
      const rig = await createRig(create, [at('b', '0/minute')])
      expect(await rig.say([D('b=x', { h: 0 })])).toBe('OK: OK 0 of 0/minute')
    })

    test('S9: a value without a rule is let through', async () => {
      const rig = await createRig(create, [at('k', '20/minute'), at('k=v3')])
      expect(new Set(await rig.repeat(30, [D('k=v3')]))).toEqual(new Set(['OK: NL']))
    })

    test('S10: a value with a rule of its own', async () => {
      const rig = await createRig(create, [at('k', '20/minute'), at('k=v2', '30/minute')])
      expect((await rig.repeat(31, [D('k=v2')])).slice(29)).toEqual([
        'OK: OK 0 of 30/minute',
        'OVER: OVER 0 of 30/minute',
      ])
      expect((await rig.repeat(21, [D('k=other')])).slice(19)).toEqual([
        'OK: OK 0 of 20/minute',
        'OVER: OVER 0 of 20/minute',
      ])
    })

    test('S11: each value is counted apart', async () => {
      const rig = await createRig(create, [at('k', '20/minute')])
      expect(await rig.say([D('k=a')])).toBe('OK: OK 19 of 20/minute')
      expect(await rig.say([D('k=b')])).toBe('OK: OK 19 of 20/minute')
    })

    const nested = at('k1=v1', undefined, { below: [at('s', '5/second')] })
    test.each([
      ['S12: a request that goes deeper than the file', at('k=v', '300/second'), 'k=v,s=t'],
      ['S13: a file that goes deeper than the request', nested, 'k1=v1'],
      ['S16: entries in another order', nested, 's=o,k1=v1'],
      ['S17: a key in another case', at('k', '20/minute'), 'K=a'],
    ])('%s is not limited', async (_name, rule, entries) => {
      const rig = await createRig(create, [rule])
      expect(await rig.say([D(entries)])).toBe('OK: NL')
    })

    test('S14: a nested key, and a nested value with a rule of its own', async () => {
      const rig = await createRig(create, [
        at('k1=v1', undefined, { below: [at('s', '5/second'), at('s=sv', '10/second')] }),
      ])
      expect((await rig.repeat(6, [D('k1=v1,s=o')])).slice(4)).toEqual([
        'OK: OK 0 of 5/second',
        'OVER: OVER 0 of 5/second',
      ])
      expect((await rig.repeat(11, [D('k1=v1,s=sv')])).slice(9)).toEqual([
        'OK: OK 0 of 10/second',
        'OVER: OVER 0 of 10/second',
      ])
    })

    test('S15: the rule of the last entry counts alone', async () => {
      const rig = await createRig(create, [
        at('k5=v5', '15/day', { below: [at('s5=sv5', '25/day')] }),
      ])
      expect(await rig.say([D('k5=v5')])).toBe('OK: OK 14 of 15/day')
      expect(await rig.say([D('k5=v5,s5=sv5')])).toBe('OK: OK 24 of 25/day')
      expect(await rig.say([D('k5=v5,s5=zz')])).toBe('OK: NL')
      expect(await rig.say([D('k5=v5', { h: 0 })])).toBe('OK: OK 14 of 15/day')
    })

    test('S18: an empty value is a value', async () => {
      const rig = await createRig(create, [at('k', '20/minute')])
      expect(await rig.say([D('k=')])).toBe('OK: OK 19 of 20/minute')
      expect(await rig.say([D('k=a')])).toBe('OK: OK 19 of 20/minute')
    })

    test('S19: the same descriptor twice in one call is counted twice', async () => {
      const rig = await createRig(create, [at('k', '20/minute')])
      expect(await rig.say([D('k=r'), D('k=r')])).toBe('OK: OK 19 of 20/minute; OK 18 of 20/minute')
    })

    test('S20: a rule with a name', async () => {
      const rig = await createRig(create, [at('k4', '1/day', { name: 'lim4' })])
      expect((await rig.call([D('k4=a')])).statuses[0]).toMatchObject({
        name: 'lim4',
        remaining: 0,
        isOver: false,
      })
      expect((await rig.call([D('k4=a')])).isOver).toBe(true)
    })

    test('S21: statuses stand in the order of the descriptors', async () => {
      const rig = await createRig(create, [at('k', '20/minute')])
      expect(await rig.say([D('zz=1'), D('k=r')])).toBe('OK: NL; OK 19 of 20/minute')
    })

    test('S23: hits that go beyond the limit count', async () => {
      const rig = await createRig(create, [at('k', '10/hour')])
      expect(await rig.say([D('k=r')], { h: 6 })).toBe('OK: OK 4 of 10/hour')
      expect(await rig.say([D('k=r')], { h: 6 })).toBe('OVER: OVER 0 of 10/hour')
      expect(await rig.say([D('k=r')])).toBe('OVER: OVER 0 of 10/hour')
    })

    test('S24: an addend of 0 of the call counts as 1', async () => {
      const rig = await createRig(create, [at('k', '10/hour')])
      expect(await rig.repeat(2, [D('k=r')], { h: 0 })).toEqual([
        'OK: OK 9 of 10/hour',
        'OK: OK 8 of 10/hour',
      ])
    })

    test('S25: an addend of 0 of a descriptor asks without counting', async () => {
      const rig = await createRig(create, [at('k', '2/minute')])
      expect(new Set(await rig.repeat(3, [D('k=r', { h: 0 })]))).toEqual(
        new Set(['OK: OK 2 of 2/minute']),
      )
      expect(rig.measured('d.k')).toEqual({})
    })

    test('S26: to have used up all is not to be over', async () => {
      const rig = await createRig(create, [at('k', '2/minute')])
      const said = []
      for (const h of [2, 0, 1, 0]) said.push(await rig.say([D('k=r', { h })]))
      expect(said).toEqual([
        'OK: OK 0 of 2/minute',
        'OK: OK 0 of 2/minute',
        'OVER: OVER 0 of 2/minute',
        'OVER: OVER 0 of 2/minute',
      ])
    })

    test("S27: the call's addend is for the descriptors that bring none", async () => {
      const rig = await createRig(create, [at('a', '10/hour'), at('b', '10/hour')])
      expect(await rig.say([D('a=1'), D('b=1', { h: 0 })], { h: 5 })).toBe(
        'OK: OK 5 of 10/hour; OK 10 of 10/hour',
      )
    })

    test("S28: the descriptor's addend takes the place of the call's", async () => {
      const rig = await createRig(create, [at('a', '10/hour')])
      expect(await rig.say([D('a=1', { h: 3 })], { h: 5 })).toBe('OK: OK 7 of 10/hour')
    })

    test('S29: a first call beyond the limit fills the window', async () => {
      const rig = await createRig(create, [at('k', '10/hour')])
      expect(await rig.say([D('k=r')], { h: 11 })).toBe('OVER: OVER 0 of 10/hour')
      expect(await rig.say([D('k=r')])).toBe('OVER: OVER 0 of 10/hour')
    })

    test('S30: tokens that are reported afterwards count in full', async () => {
      const rig = await createRig(create, [at('m', '10/hour')])
      expect(await rig.say([D('m=1')])).toBe('OK: OK 9 of 10/hour')
      expect(await rig.say([D('m=1')], { h: 20 })).toBe('OVER: OVER 0 of 10/hour')
      expect(await rig.say([D('m=1')])).toBe('OVER: OVER 0 of 10/hour')
      expect(await rig.say([D('m=1', { h: 12, refund: true })])).toBe('OK: OK 0 of 10/hour')
    })

    test('S31: ask first, report afterwards', async () => {
      const rig = await createRig(create, [at('u', '21/hour')])
      const asked = []
      for (let turn = 0; turn < 3; turn += 1) {
        asked.push(await rig.say([D('u=1', { h: 0 })]))
        await rig.call([D('u=1', { h: 10 })])
      }
      asked.push(await rig.say([D('u=1', { h: 0 })]))
      expect(asked).toEqual([
        'OK: OK 21 of 21/hour',
        'OK: OK 11 of 21/hour',
        'OK: OK 1 of 21/hour',
        'OVER: OVER 0 of 21/hour',
      ])
    })

    test.each([
      ['second', 1],
      ['minute', 20],
      ['hour', 800],
      ['day', 36_800],
      ['week', 209_600],
      ['month', 1_592_000],
      ['year', 30_536_000],
    ])(
      'S67: the window of a %s that contains second 1,000,000 has %i s to go',
      async (unit, left) => {
        const rig = await createRig(create, [at('k', `10/${unit}`)], {
          clock: createTestClock(1_000_000),
        })
        expect((await rig.call([D('k=r')])).statuses[0]?.resetMs).toBe(left * 1000)
      },
    )

    test('S70: hits near the limit are those from the ratio on, up to the limit', async () => {
      for (const [limit, before, hits, expected, nearLimitRatio = 0.8] of [
        [15, 10, 1, { within_limit: 1 }],
        [15, 12, 1, { within_limit: 1, near_limit: 1 }],
        [15, 15, 1, { over_limit: 1 }],
        [8, 5, 2, { within_limit: 2, near_limit: 1 }],
        [20, 16, 3, { within_limit: 3, near_limit: 3 }],
        [20, 19, 3, { over_limit: 2, near_limit: 1 }],
        [20, 15, 7, { over_limit: 2, near_limit: 4 }],
        [10, 27, 3, { over_limit: 3 }],
        [15, 6, 1, { within_limit: 1 }, 0.5],
        [15, 6, 3, { within_limit: 3, near_limit: 2 }, 0.5],
        // 63 in single precision; in double precision it would be 62.
        [90, 62, 1, { within_limit: 1 }, 0.7],
        [90, 63, 1, { within_limit: 1, near_limit: 1 }, 0.7],
      ] as const) {
        const value = `${String(limit)}-${String(before)}`
        const rig = await createRig(create, [at('k', `${String(limit)}/year`)], { nearLimitRatio })
        await rig.call([D(`k=${value}`, { h: before })])
        await rig.call([D(`k=${value}`, { h: hits })])
        expect(rig.answers[1]?.measures[0]?.hits).toMatchObject({
          ...{ total_hits: hits, over_limit: 0, near_limit: 0, within_limit: 0 },
          ...expected,
        })
      }
    })

    test('S76: of 200 at once 50 pass', async () => {
      const rig = await createRig(create, [at('k', '50/hour')])
      const answers = await Promise.all(range(1, 200).map(() => rig.call([D('k=r')])))
      expect(answers.filter(({ isOver }) => !isOver)).toHaveLength(50)
    })

    test('S77: windows are fixed: ten at the end of one and ten at the beginning of the next', async () => {
      const rig = await createRig(create, [at('k', '10/minute')], { clock: createTestClock(59) })
      expect((await rig.repeat(11, [D('k=r')])).map((said) => said.slice(0, 3))).toEqual([
        ...range(1, 10).map(() => 'OK:'),
        'OVE',
      ])
      rig.clock.setSeconds(60)
      expect((await rig.repeat(11, [D('k=r')])).at(9)).toBe('OK: OK 0 of 10/minute')
    })
  })
}
