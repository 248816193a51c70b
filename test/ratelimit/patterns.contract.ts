import { describe, expect, test } from 'vitest'
import { at, createRig, D } from './rig.js'
import type { CreateCounters } from './rig.js'

/** Patterns, what they share, and under which name things are measured. */
export function describePatterns(name: string, create: CreateCounters): void {
  describe(`patterns, ${name}`, () => {
    test('S51: each value that matches is counted apart', async () => {
      const rig = await createRig(create, [at('w=foo*', '20/minute')])
      for (const value of ['foo', 'foo1', 'foobar']) {
        expect(await rig.say([D(`w=${value}`)])).toBe('OK: OK 19 of 20/minute')
      }
      expect(await rig.say([D('w=fo')])).toBe('OK: NL')
    })

    test.each([
      ['S52', '/api/*/action', ['/api/123/action', '/api//action'], '/api/1/other'],
      ['S53', '/api/*/resource/*/action', ['/api/v1/resource/7/action'], '/api/v1/action'],
    ])(
      '%s: a star stands anywhere, for none or more characters',
      async (_name, pattern, yes, no) => {
        const rig = await createRig(create, [at(`p=${pattern}`, '20/minute')])
        for (const value of yes) {
          expect(await rig.say([D(`p=${value}`)])).toBe('OK: OK 19 of 20/minute')
        }
        expect(await rig.say([D(`p=${no}`)])).toBe('OK: NL')
      },
    )

    test('a call whose values are too long for the patterns is over, and counts nothing', async () => {
      const patterns = ['p', 'q'].flatMap((key) =>
        Array.from({ length: 32 }, (_, index) => at(`${key}=/*/v${String(index)}/*`, '20/minute')),
      )
      const rules = [...patterns, at('k', '20/minute')]
      const rig = await createRig(create, rules)
      const long = `/${'x'.repeat(60_000)}`
      expect(await rig.say([D('k=1'), D(`p=${long}`)])).toBe('OK: OK 19 of 20/minute; NL')
      const call = [D('k=1'), D(`p=${long}`), D(`q=${long}`)]
      const answer = await rig.call(call)
      expect(answer.isOver).toBe(true)
      expect(answer.statuses.map(({ isOver }) => isOver)).toEqual([true, true, true])
      expect(answer.measures).toEqual([])
      expect(await rig.say([D('k=1')])).toBe('OK: OK 18 of 20/minute')
      const shadow = await createRig(create, rules, { shadowMode: true })
      const { isOver, isShadowed } = await shadow.call(call)
      expect({ isOver, isShadowed }).toEqual({ isOver: false, isShadowed: true })
    })

    test('S54: the first pattern in the file holds, not the longest', async () => {
      const rig = await createRig(create, [at('k=a*', '1/minute'), at('k=ab*', '9/minute')])
      expect(await rig.say([D('k=abc')])).toBe('OK: OK 0 of 1/minute')
    })

    test('S55: the value itself, then a pattern, then any value', async () => {
      const rig = await createRig(create, [
        at('k=test1', '50/minute'),
        at('k=test*', '100/minute', { shareThreshold: true }),
        at('k', '5/minute'),
      ])
      expect(await rig.say([D('k=test1'), D('k=test2'), D('k=zz')])).toBe(
        'OK: OK 49 of 50/minute; OK 99 of 100/minute; OK 4 of 5/minute',
      )
    })

    test('S56: values that share a threshold count together', async () => {
      const rig = await createRig(create, [at('f=files/*', '10/hour', { shareThreshold: true })])
      await rig.repeat(10, [D('f=files/a')])
      expect(await rig.say([D('f=files/b')])).toBe('OVER: OVER 0 of 10/hour')
    })

    test('S57: without it they do not', async () => {
      const rig = await createRig(create, [at('f=files/*', '10/hour')])
      for (let value = 0; value < 10; value += 1) {
        expect(await rig.say([D(`f=files/${String(value)}`)])).toBe('OK: OK 9 of 10/hour')
      }
    })

    test('S58: a threshold is shared at the level that says so', async () => {
      const rig = await createRig(create, [
        at('p=path/*', undefined, {
          shareThreshold: true,
          below: [at('f=file/*', undefined, { below: [at('t', '120/minute')] })],
        }),
      ])
      expect(await rig.say([D('p=path/a,f=file/x,t=1')])).toBe('OK: OK 119 of 120/minute')
      expect(await rig.say([D('p=path/b,f=file/x,t=1')])).toBe('OK: OK 118 of 120/minute')
      expect(await rig.say([D('p=path/a,f=file/y,t=1')])).toBe('OK: OK 119 of 120/minute')
    })

    test('S59: detailed_metric measures each value apart', async () => {
      const rig = await createRig(create, [at('k', '70/minute', { detailedMetric: true })])
      await rig.call([D('k=zz')])
      expect(rig.measured('d.k_zz')).toMatchObject({ total_hits: 1 })
    })

    test('S60: value_to_metric does so level by level', async () => {
      const below = [
        at('method', undefined, { valueToMetric: true, below: [at('subj', '60/minute')] }),
      ]
      const rig = await createRig(create, [at('route', undefined, { valueToMetric: true, below })])
      await rig.call([D('route=api,method=GET,subj=1')])
      expect(rig.measured('d.route_api.method_GET.subj')).toMatchObject({ total_hits: 1 })
    })

    test('S61: a shared threshold is measured under its pattern', async () => {
      const rig = await createRig(create, [
        at('route=api/*', undefined, {
          shareThreshold: true,
          valueToMetric: true,
          below: [at('method', '60/minute')],
        }),
      ])
      await rig.call([D('route=api/v1,method=GET')])
      expect(rig.measured('d.route_api/*.method')).toMatchObject({ total_hits: 1 })
    })
  })
}
