import { describe, expect, test } from 'vitest'
import { at, createRig, createTestClock, D } from './rig.js'
import type { CreateCounters } from './rig.js'

/** Limits that requests bring, and rules that count, refuse or stand back in another way than the plain one. */
export function describeModes(name: string, create: CreateCounters): void {
  describe(`modes, ${name}`, () => {
    test('S32: a limit that the request brings', async () => {
      const rig = await createRig(create, [at('k', '1/second')])
      const said = await rig.repeat(11, [D('any=x', { limit: '10/day' })])
      expect(said[0]).toBe('OK: OK 9 of 10/day')
      expect(said.slice(9)).toEqual(['OK: OK 0 of 10/day', 'OVER: OVER 0 of 10/day'])
      expect(rig.measured('d.any_x')).toMatchObject({ total_hits: 11, over_limit: 1 })
    })

    test('S33: it is not heard in an unknown domain', async () => {
      const rig = await createRig(create, [at('k', '1/second')])
      const said = await rig.say([D('any=x', { limit: '0/day' })], { domain: 'foo' })
      expect(said).toBe('OK: NL')
    })

    test('S34: another limit of the same unit finds the same counter', async () => {
      const rig = await createRig(create, [at('k', '1/second')])
      await rig.repeat(4, [D('any=x', { limit: '10/day' })])
      expect(await rig.say([D('any=x', { limit: '3/day' })])).toBe('OVER: OVER 0 of 3/day')
      expect(await rig.say([D('any=x', { limit: '3/hour' })])).toBe('OK: OK 2 of 3/hour')
    })

    test('S35: it is not in shadow mode though the rule is', async () => {
      const rig = await createRig(create, [at('k', '5/day', { shadowMode: true })])
      expect(await rig.repeat(2, [D('k=x', { limit: '1/day' })])).toEqual([
        'OK: OK 0 of 1/day',
        'OVER: OVER 0 of 1/day',
      ])
    })

    test('S37: unlimited is told as the largest number, and asks no store', async () => {
      let asked = 0
      const rig = await createRig(create, [at('q', 'unlimited')], {
        around: (counters) => ({
          ...counters,
          count: (...call) => {
            asked += 1
            return counters.count(...call)
          },
        }),
      })
      const { statuses } = await rig.call([D('q=1'), D('zz=1')])
      expect(statuses[0]).toEqual({
        isOver: false,
        limit: undefined,
        name: '',
        remaining: 4_294_967_295,
        resetMs: undefined,
      })
      expect(asked).toBe(0)
    })

    test('S38: unlimited beside one that is over', async () => {
      const rig = await createRig(create, [at('q', 'unlimited'), at('k', '1/minute')])
      expect(await rig.repeat(2, [D('q=1'), D('k=1')])).toEqual([
        'OK: MAX; OK 0 of 1/minute',
        'OVER: MAX; OVER 0 of 1/minute',
      ])
    })

    test('S39: a rule in shadow mode counts, and is never over', async () => {
      const rig = await createRig(create, [at('k', '3/minute', { shadowMode: true })])
      expect(await rig.repeat(5, [D('k=r')])).toEqual(
        [2, 1, 0, 0, 0].map((left) => `OK: OK ${String(left)} of 3/minute`),
      )
      expect(rig.measured('d.k')).toMatchObject({ total_hits: 5, over_limit: 2, shadow_mode: 2 })
    })

    test('S39: of hits that are over in part that part is measured as shadow mode', async () => {
      const rig = await createRig(create, [at('k', '3/minute', { shadowMode: true })])
      await rig.call([D('k=r', { h: 5 })])
      expect(rig.measured('d.k')).toMatchObject({ total_hits: 5, over_limit: 2, shadow_mode: 2 })
    })

    test('S40: shadow mode is of its own rule alone', async () => {
      const rig = await createRig(create, [
        at('a', '1/minute', { shadowMode: true }),
        at('b', '1/minute'),
      ])
      expect((await rig.repeat(2, [D('a=1'), D('b=1')]))[1]).toBe(
        'OVER: OK 0 of 1/minute; OVER 0 of 1/minute',
      )
    })

    test('S41: with all in shadow mode the statuses alone are over', async () => {
      const rig = await createRig(create, [at('k', '1/minute')], { shadowMode: true })
      expect(await rig.repeat(2, [D('k=r')])).toEqual([
        'OK: OK 0 of 1/minute',
        'OK: OVER 0 of 1/minute',
      ])
      expect(rig.answers.map(({ isShadowed }) => isShadowed)).toEqual([false, true])
    })

    const quotas = [
      at('s=1', '1/minute', { quotaMode: true, metadata: { q: { name: 'one', first: 1 } } }),
      at('s=2', '2/minute', { quotaMode: true, metadata: { q: { name: 'two', second: 2 } } }),
    ]

    test('S42: rules in quota mode are over when all of them are', async () => {
      const rig = await createRig(create, quotas)
      expect(await rig.repeat(3, [D('s=1'), D('s=2')])).toEqual([
        'OK: OK 0 of 1/minute; OK 1 of 2/minute',
        'OK: OVER 0 of 1/minute; OK 0 of 2/minute',
        'OVER: OVER 0 of 1/minute; OVER 0 of 2/minute',
      ])
    })

    test('S43: one that is alone in quota mode is all of them', async () => {
      const rig = await createRig(create, [
        at('s=1', '1/minute', { quotaMode: true }),
        at('n', '10/minute'),
      ])
      expect((await rig.repeat(2, [D('s=1'), D('n=1')]))[1]).toBe(
        'OVER: OVER 0 of 1/minute; OK 8 of 10/minute',
      )
    })

    test('S44: a rule that is not in quota mode is enough', async () => {
      const rig = await createRig(create, [
        at('s=1', '5/minute', { quotaMode: true }),
        at('n', '1/minute'),
      ])
      expect((await rig.repeat(2, [D('s=1'), D('n=1')]))[1]).toBe(
        'OVER: OK 3 of 5/minute; OVER 0 of 1/minute',
      )
    })

    test('S45: none in quota mode is over', async () => {
      const rig = await createRig(create, quotas)
      expect(await rig.say([D('s=1'), D('s=2')])).toMatch(/^OK: OK .*; OK /)
    })

    test('with all in quota mode one rule that is over is not enough', async () => {
      const rig = await createRig(create, [at('a', '1/minute'), at('b', '2/minute')], {
        quotaMode: true,
      })
      expect((await rig.repeat(3, [D('a=1'), D('b=1')])).map((said) => said.split(':')[0])).toEqual(
        ['OK', 'OK', 'OVER'],
      )
    })

    test('with all in quota mode what has no rule is never over, and what is unlimited is none of them', async () => {
      const rig = await createRig(create, [at('a', '0/minute'), at('q', 'unlimited')], {
        quotaMode: true,
      })
      expect(await rig.say([D('a=1'), D('zz=1')])).toBe('OK: OVER 0 of 0/minute; NL')
      expect(await rig.say([D('a=1'), D('q=1')])).toBe('OVER: OVER 0 of 0/minute; MAX')
      expect(await rig.say([D('q=1'), D('q=2')])).toBe('OK: MAX; MAX')
    })

    test('S46: metadata of the rules that pass, the first to say a name first', async () => {
      const rig = await createRig(create, quotas, { responseDynamicMetadata: true })
      const descriptors = [D('s=1', { h: 1 }), D('s=2')]
      const first = await rig.call(descriptors, { h: 1 })
      expect(first.metadata).toEqual({
        domain: 'd',
        descriptors: [{ entries: ['s=1'], hitsAddend: 1 }, { entries: ['s=2'] }],
        hitsAddend: 1,
        quotaModeEnabled: true,
        metadata: { q: { name: 'one', first: 1, second: 2 } },
      })
      const second = await rig.call(descriptors)
      expect(second.metadata).toMatchObject({ metadata: { q: { name: 'two', second: 2 } } })
      expect(second.metadata).not.toHaveProperty('metadata.q.first')
      expect((await rig.call(descriptors)).metadata).not.toHaveProperty('metadata')
    })

    test.each<readonly [string, unknown]>([
      ['a list', ['x', 'y', 'z']],
      ['a mapping', { 2: 'z' }],
    ])('S46: a list in metadata is not added to: the first stays, beside %s', async (_, second) => {
      const rules = [
        at('s=1', '9/minute', { metadata: { q: [1, 2] } }),
        at('s=2', '9/minute', { metadata: { q: second } }),
      ]
      const rig = await createRig(create, rules, { responseDynamicMetadata: true })
      const told = async (...values: readonly string[]) =>
        (await rig.call(values.map((value) => D(`s=${value}`)))).metadata?.['metadata']
      expect(await told('1', '2')).toEqual({ q: [1, 2] })
      expect(await told('2', '1')).toEqual({ q: second })
    })

    test('metadata says which descriptors are over in quota mode, by their places', async () => {
      const rig = await createRig(
        create,
        [
          ...quotas,
          at('n', '0/minute'),
          at('sh', '0/minute', { quotaMode: true, shadowMode: true }),
        ],
        { responseDynamicMetadata: true },
      )
      const descriptors = [D('n=1'), D('s=1'), D('sh=1'), D('s=2'), D('zz=1')]
      const told: unknown[] = []
      for (let made = 0; made < 3; made += 1) {
        told.push((await rig.call(descriptors)).metadata?.['quotaModeViolations'])
      }
      expect(told).toEqual([undefined, [1], [1, 3]])
    })

    test('metadata says that there is quota mode where a rule that is counted has it', async () => {
      const rules = [
        at('n', '0/minute'),
        at('q', 'unlimited', { quotaMode: true }),
        at('base', '1/minute', { quotaMode: true, name: 'base' }),
        at('instead', '5/minute', { replaces: ['base'] }),
      ]
      const rig = await createRig(create, rules, { responseDynamicMetadata: true })
      const isEnabled = async (...descriptors: Parameters<typeof rig.call>[0]) =>
        (await rig.call(descriptors)).metadata?.['quotaModeEnabled']
      expect(await isEnabled(D('n=1'), D('q=1'), D('zz=1'))).toBe(false)
      expect(await isEnabled(D('base=1'), D('instead=1'))).toBe(false)
      expect(await isEnabled(D('base=1', { limit: '5/day' }))).toBe(false)
      expect(await isEnabled(D('n=1'), D('base=1'))).toBe(true)
    })

    test('with all in quota mode metadata says what is over, but of no rule that it has quota mode', async () => {
      const options = { responseDynamicMetadata: true, quotaMode: true }
      const rig = await createRig(create, [at('n', '0/minute')], options)
      expect((await rig.call([D('zz=1'), D('n=1')])).metadata).toMatchObject({
        quotaModeEnabled: false,
        quotaModeViolations: [1],
      })
    })

    test('S46: a rule without limit tells no metadata', async () => {
      const rules = [...quotas, at('s', 'unlimited', { metadata: { q: { name: 'none' } } })]
      const rig = await createRig(create, rules, { responseDynamicMetadata: true })
      const { metadata } = await rig.call([D('s=3'), D('s=2')])
      expect(metadata?.['metadata']).toEqual({ q: { name: 'two', second: 2 } })
    })

    test('metadata tells a limit that the request brings; without the switch there is none', async () => {
      const descriptors = [D('a=b,c=d', { limit: '7/week' }), D('a=b', { limit: '0/day' })]
      const told = await createRig(create, quotas, { responseDynamicMetadata: true })
      expect((await told.call(descriptors)).metadata).toEqual({
        domain: 'd',
        descriptors: [
          { entries: ['a=b', 'c=d'], limit: 'requests_per_unit:7 unit:WEEK' },
          { entries: ['a=b'], limit: 'unit:DAY' },
        ],
        quotaModeEnabled: false,
      })
      const silent = await createRig(create, quotas)
      expect((await silent.call(descriptors)).metadata).toBeUndefined()
    })

    test('S47: a rule that is replaced is not counted', async () => {
      const rig = await createRig(create, [
        at('a=1', undefined, { below: [at('u', '5/second', { name: 'base' })] }),
        at('b=1', undefined, { below: [at('u', '10/second', { replaces: ['base'] })] }),
      ])
      expect(await rig.say([D('a=1,u=x'), D('b=1,u=x')])).toBe('OK: NL; OK 9 of 10/second')
      expect(await rig.say([D('a=1,u=x')])).toBe('OK: OK 4 of 5/second')
    })

    test('S48: a ban holds where nothing replaces it', async () => {
      const rig = await createRig(create, [
        at('bar=banned', '0/minute', { name: 'ban' }),
        at('o=1', '2/minute', { replaces: ['ban'] }),
      ])
      expect(await rig.repeat(3, [D('bar=banned'), D('o=1')])).toEqual([
        'OK: NL; OK 1 of 2/minute',
        'OK: NL; OK 0 of 2/minute',
        'OVER: NL; OVER 0 of 2/minute',
      ])
      expect(await rig.say([D('bar=banned')])).toBe('OVER: OVER 0 of 0/minute')
    })

    test('S49: a rule replaces several', async () => {
      const rig = await createRig(create, [
        at('c', '4/minute', { replaces: ['x', 'y'] }),
        at('x', '1/minute', { name: 'x' }),
        at('y', '2/minute', { name: 'y' }),
      ])
      expect((await rig.repeat(5, [D('c=1'), D('x=1'), D('y=1')])).slice(3)).toEqual([
        'OK: OK 0 of 4/minute; NL; NL',
        'OVER: OVER 0 of 4/minute; NL; NL',
      ])
      expect(await rig.say([D('x=1', { h: 0 }), D('y=1', { h: 0 })])).toBe(
        'OK: OK 1 of 1/minute; OK 2 of 2/minute',
      )
    })

    test('S50: an unlimited rule replaces, too', async () => {
      const rig = await createRig(create, [
        at('k', '1/minute', { name: 'base' }),
        at('vip', 'unlimited', { replaces: ['base'] }),
      ])
      expect(await rig.repeat(2, [D('k=1'), D('vip=1')])).toEqual(['OK: NL; MAX', 'OK: NL; MAX'])
    })

    test('S68, S69: the client is told of the last descriptor that is over, else of the one with least left', async () => {
      const rig = await createRig(
        create,
        [at('a', '10/minute'), at('b', '5/minute'), at('c', '9/minute'), at('q', 'unlimited')],
        { clock: createTestClock(2222) },
      )
      const first = await rig.call([D('a=1'), D('b=1'), D('q=1')])
      expect(first.tightest).toMatchObject({ limit: { requestsPerUnit: 5 }, remaining: 4 })
      await rig.call([D('a=1'), D('b=1'), D('c=1')], { h: 10 })
      const over = await rig.call([D('b=1'), D('a=1'), D('q=1'), D('c=1', { h: 0 }), D('zz=1')])
      expect(over.tightest).toEqual({
        isOver: true,
        limit: { requestsPerUnit: 9, unit: 'minute' },
        name: '',
        remaining: 0,
        resetMs: 58_000,
      })
      expect((await rig.call([D('zz=1'), D('q=1')])).tightest).toBeUndefined()
    })

    test('S69: the client is not told of a limit of which the largest number is left', async () => {
      const rig = await createRig(create, [at('most', '4294967295/day'), at('n', '9/day')])
      expect((await rig.call([D('most=1', { h: 0 })])).tightest).toBeUndefined()
      expect((await rig.call([D('most=1', { h: 0 }), D('n=1')])).tightest).toMatchObject({
        remaining: 8,
      })
      expect((await rig.call([D('most=1')])).tightest).toMatchObject({ remaining: 4_294_967_294 })
    })

    test('S69: of two with the same left the client is told of the first', async () => {
      const rig = await createRig(create, [at('n', '5/minute'), at('s', '5/hour')])
      const { tightest } = await rig.call([D('n=1'), D('s=1')])
      expect(tightest).toMatchObject({ limit: { unit: 'minute' } })
    })

    test('S69: what refuses is told before what is over in quota mode alone', async () => {
      const rig = await createRig(create, [
        at('n', '0/minute'),
        at('s', '0/hour', { quotaMode: true }),
      ])
      const { tightest } = await rig.call([D('n=1'), D('s=1')])
      expect(tightest).toMatchObject({ limit: { unit: 'minute' } })
    })
  })
}
