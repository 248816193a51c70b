import { describe, expect, test } from 'vitest'
import { beyondBounds, callBounds, lookUpAll, maxLooks } from '../../src/ratelimit/lookup.js'
import type { Descriptor } from '../../src/ratelimit/rule.js'
import { buildConfig } from '../../src/ratelimit/tree.js'
import type { FileDescriptor, RateLimitConfig } from '../../src/ratelimit/tree.js'
import { asked, configOf, lookUp, node, ruleOf } from './trees.js'

/** A descriptor with a rule of so many per minute. */
const limited = (
  written: string,
  requestsPerUnit: number,
  differences: Partial<FileDescriptor> = {},
): FileDescriptor => node(written, { rule: ruleOf(requestsPerUnit), ...differences })

const limitOf = (config: RateLimitConfig, ...entries: readonly string[]): number | undefined =>
  lookUp(config, 'd', asked(...entries))?.rule.limit?.requestsPerUnit

const metricOf = (config: RateLimitConfig, ...entries: readonly string[]): string | undefined =>
  lookUp(config, 'd', asked(...entries))?.metricKey

const countedOf = (config: RateLimitConfig, ...entries: readonly string[]): string | undefined =>
  lookUp(config, 'd', asked(...entries))
    ?.counted.map(({ key, value }) => `${key}=${value}`)
    .join(' ')

describe('the rule of a descriptor', () => {
  test('is none in an unknown domain, for an unknown key, or in another case', () => {
    const config = configOf(limited('k', 20))
    expect(lookUp(config, 'other', asked('k=a'))).toBeUndefined()
    expect(limitOf(config, 'zz=1')).toBeUndefined()
    expect(limitOf(config, 'K=a')).toBeUndefined()
    expect(limitOf(config, 'k=a')).toBe(20)
    expect(limitOf(config, 'k=')).toBe(20)
  })

  test('is that of the value, else of the first pattern in the file, else of the key', () => {
    const config = configOf(
      limited('k', 5),
      limited('k=t*', 100),
      limited('k=te*', 9),
      limited('k=test1', 50),
    )
    expect(limitOf(config, 'k=test1')).toBe(50)
    expect(limitOf(config, 'k=test2')).toBe(100)
    expect(limitOf(config, 'k=zz')).toBe(5)
  })

  test('without a limit lets through, where the key alone would have one', () => {
    const config = configOf(limited('k', 20), node('k=v3'))
    expect(limitOf(config, 'k=v3')).toBeUndefined()
  })

  test('stands at its last entry, in their order', () => {
    const config = configOf(
      limited('k1=v1', 15, {
        descriptors: [limited('s', 5), limited('s=sv', 25)],
      }),
    )
    expect(limitOf(config, 'k1=v1')).toBe(15)
    expect(limitOf(config, 'k1=v1', 's=o')).toBe(5)
    expect(limitOf(config, 'k1=v1', 's=sv')).toBe(25)
    expect(limitOf(config, 'k1=v1', 'zz=sv')).toBeUndefined()
    expect(limitOf(config, 'k1=v1', 's=o', 't=t')).toBeUndefined()
    expect(limitOf(config, 's=o', 'k1=v1')).toBeUndefined()
    const deeper = configOf(node('k1=v1', { descriptors: [limited('s', 5)] }))
    expect(limitOf(deeper, 'k1=v1')).toBeUndefined()
  })

  test('is found by key and value joined, as in envoyproxy/ratelimit', () => {
    const config = configOf(limited('a=b_c', 5))
    expect(limitOf(config, 'a_b=c')).toBe(5)
    // The counters of the two are not one.
    expect(countedOf(config, 'a_b=c')).toBe('a_b=c')
    expect(countedOf(config, 'a=b_c')).toBe('a=b_c')
  })

  test('is looked for with the underscore where the value is empty, too', () => {
    const config = configOf(limited('k_', 5), limited('k', 1))
    expect(limitOf(config, 'k=')).toBe(5)
    expect(limitOf(config, 'k=a')).toBe(1)
  })

  test('is also found by a star in the key, which then is a pattern of both', () => {
    const config = configOf(limited('k*', 5, { shareThreshold: true }))
    expect(limitOf(config, 'kab=x')).toBe(5)
    expect(countedOf(config, 'kab=x')).toBe('kab=k*')
    expect(limitOf(config, 'jab=x')).toBeUndefined()
  })

  test('is that of all files of a domain', () => {
    const config = buildConfig([
      { domain: 'd', descriptors: [limited('a', 1)] },
      { domain: 'e', descriptors: [limited('a', 2)] },
      { domain: 'd', descriptors: [limited('b', 3)] },
    ])
    expect(limitOf(config, 'a=x')).toBe(1)
    expect(limitOf(config, 'b=x')).toBe(3)
    expect(lookUp(config, 'e', asked('b=x'))).toBeUndefined()
  })
})

describe('what is counted', () => {
  test('are the values of the request, each for itself', () => {
    const config = configOf(limited('f=files/*', 10), limited('k', 20))
    expect(countedOf(config, 'f=files/a')).toBe('f=files/a')
    expect(countedOf(config, 'k=a')).toBe('k=a')
  })

  test('is the pattern where values share a threshold, also above the limit', () => {
    const config = configOf(
      node('p=path/*', {
        shareThreshold: true,
        descriptors: [node('f=file/*', { descriptors: [limited('t', 120)] })],
      }),
    )
    expect(countedOf(config, 'p=path/a', 'f=file/x', 't=1')).toBe('p=path/* f=file/x t=1')
  })
})

test('a value that is spelt as the pattern counts with those that match it', () => {
  const config = configOf(limited('f=files/*', 10, { shareThreshold: true }))
  expect(countedOf(config, 'f=files/a')).toBe('f=files/*')
  expect(countedOf(config, 'f=files/*')).toBe('f=files/*')
})

describe('a limit of the request', () => {
  const own = (limit: Descriptor['limit'], ...entries: readonly string[]): Descriptor => ({
    ...asked(...entries),
    limit,
  })
  const limit = { requestsPerUnit: 10, unit: 'day' } as const

  test('holds in a known domain, whatever the file says', () => {
    const rule = ruleOf(1, { name: 'n', shadowMode: true, quotaMode: true, limit: undefined })
    const config = configOf(node('k=v', { rule }))
    expect(lookUp(config, 'd', own(limit, 'k=v', 'any=x', 'e'))).toEqual({
      rule: ruleOf(10, { limit }),
      counted: asked('k=v', 'any=x', 'e').entries,
      metricKey: 'd.k_v.any_x.e',
    })
    expect(lookUp(config, 'other', own(limit, 'k=v'))).toBeUndefined()
  })
})

describe('the metric of a rule', () => {
  test('names its place in the file', () => {
    const config = configOf(
      node('k=v', { descriptors: [limited('s', 5), limited('p=a*', 5)] }),
      limited('k', 1),
    )
    expect(metricOf(config, 'k=v', 's=secret')).toBe('d.k_v.s')
    expect(metricOf(config, 'k=v', 'p=abc')).toBe('d.k_v.p_a*')
    expect(metricOf(config, 'k=other')).toBe('d.k')
  })

  test('holds every value of the request where it is detailed', () => {
    const config = configOf(
      node('a', { descriptors: [limited('k', 70, { detailedMetric: true, valueToMetric: true })] }),
    )
    expect(metricOf(config, 'a=1', 'k=zz')).toBe('d.a_1.k_zz')
    expect(metricOf(config, 'a=', 'k=zz')).toBe('d.a_.k_zz')
  })

  test('holds the value of an entry that asks for it', () => {
    const config = configOf(
      node('route', {
        valueToMetric: true,
        descriptors: [
          node('method', { valueToMetric: true, descriptors: [limited('subj', 60)] }),
          node('path=a*', { valueToMetric: true, descriptors: [limited('subj', 60)] }),
        ],
      }),
    )
    expect(metricOf(config, 'route=api', 'method=GET', 'subj=1')).toBe(
      'd.route_api.method_GET.subj',
    )
    expect(metricOf(config, 'route=', 'path=abc', 'subj=1')).toBe('d.route.path_abc.subj')
  })

  test('holds the pattern where values share a threshold', () => {
    const shared = { valueToMetric: true, shareThreshold: true }
    const config = configOf(
      node('route=api/*', {
        ...shared,
        descriptors: [limited('m', 1), limited('k', 1, { detailedMetric: true })],
      }),
    )
    expect(metricOf(config, 'route=api/v1', 'm=GET')).toBe('d.route_api/*.m')
    expect(metricOf(config, 'route=api/v1', 'k=x')).toBe('d.route_api/*.k_x')
    expect(metricOf(config, 'route=api/v1', 'k=')).toBe('d.route_api/*.k')
  })
})

describe('the rules of a call', () => {
  const named = (written: string, name: string, replaces: readonly string[] = []): FileDescriptor =>
    node(written, { rule: ruleOf(1, { name, replaces }) })
  const namesOf = (config: RateLimitConfig, ...keys: readonly string[]) =>
    lookUpAll(
      config,
      'd',
      keys.map((key) => asked(key)),
    )?.map((match) => match?.rule.name)

  test('stand where their descriptors do', () => {
    expect(namesOf(configOf(named('k', 'n')), 'zz=1', 'k=r')).toEqual([undefined, 'n'])
  })

  test('leave out those that another one of the call replaces', () => {
    const config = configOf(
      named('c', 'c', ['x', 'y']),
      named('x', 'x'),
      named('y', 'y', ['z']),
      named('z', 'z'),
    )
    expect(namesOf(config, 'x', 'c', 'y')).toEqual([undefined, 'c', undefined])
    // Also by one that is replaced itself.
    expect(namesOf(config, 'z', 'c', 'y')).toEqual([undefined, 'c', undefined])
    expect(namesOf(config, 'x', 'z')).toEqual(['x', 'z'])
  })

  test('keep an unlimited one, which replaces but is not replaced', () => {
    const unlimited = ruleOf(1, { name: 'vip', limit: undefined, replaces: ['base'] })
    const config = configOf(named('base', 'base', ['vip']), node('vip', { rule: unlimited }))
    expect(namesOf(config, 'base', 'vip')).toEqual([undefined, 'vip'])
  })

  test('keep one without a name', () => {
    const config = configOf(named('a', ''), named('b', 'b', ['']))
    expect(namesOf(config, 'a', 'b')).toEqual(['', 'b'])
  })
})

describe('what patterns look at in a call', () => {
  const middles = (key: string, count: number): readonly FileDescriptor[] =>
    Array.from({ length: count }, (_, index) => limited(`${key}=/api/*/v${String(index)}/*`, 1))
  const api = (kibibytes: number): string => `/api/${'x'.repeat(kibibytes * 1024)}`
  /** How many characters. */
  const looksOf = (config: RateLimitConfig, ...descriptors: readonly Descriptor[]): number => {
    const looks = { left: maxLooks }
    lookUpAll(config, 'd', descriptors, looks)
    return maxLooks - looks.left
  }

  test('is the same for one header in many descriptors as in one', () => {
    const config = configOf(
      ...middles('path', 32),
      node('tenant', { descriptors: middles('path', 8) }),
    )
    const once = looksOf(config, asked(`path=${api(30)}`))
    const alone = Array.from({ length: 64 }, () => asked(`path=${api(30)}`))
    const below = Array.from({ length: 64 }, (_, index) =>
      asked(`tenant=${String(index)}`, `path=${api(30)}`),
    )
    expect(once).toBe(32 * 30 * 1024)
    expect(looksOf(config, ...alone)).toBe(once)
    expect(looksOf(config, ...alone, ...below)).toBe(once + once / 4)
  })

  test('fits for one value of 64 KiB at one level with all the patterns that it may have', () => {
    const config = configOf(...middles('path', 32), limited('path', 7))
    expect(limitOf(config, `path=${api(64)}`)).toBe(7)
  })

  test('has an end, and then nothing is found', () => {
    const config = configOf(...middles('path', 32), ...middles('p', 31), limited('any', 1))
    const call = [asked(`path=${api(60)}`), asked(`p=${api(60)}`), asked('any=x')]
    expect(lookUpAll(config, 'd', call)).toBeUndefined()
    expect(looksOf(config, ...call)).toBe(maxLooks + 1)
    expect(
      lookUpAll(config, 'd', call, { left: 2 * maxLooks })?.map((match) => match?.rule),
    ).toEqual([undefined, undefined, ruleOf(1)])
  })

  test('is nothing for values that begin or end otherwise', () => {
    expect(looksOf(configOf(...middles('path', 32)), asked(`path=x${api(60)}`))).toBe(0)
    expect(looksOf(configOf(node('path=/api/*/a/*/b')), asked(`path=${api(60)}`))).toBe(0)
  })
})

describe('the bounds of a call', () => {
  test('are on descriptors, entries and characters of all together', () => {
    const entries = Array.from({ length: callBounds.entries / 2 }, () => 'k=v')
    const many = Array.from({ length: callBounds.descriptors }, () => asked())
    const long = 'x'.repeat(callBounds.characters / 2)
    expect(beyondBounds(many)).toBeUndefined()
    expect(beyondBounds([...many, asked()])).toContain('128 descriptors')
    expect(beyondBounds([asked(...entries), asked(...entries)])).toBeUndefined()
    expect(beyondBounds([asked(...entries), asked(...entries), asked('k=v')])).toContain('512')
    expect(beyondBounds([asked(`=${long}`), asked(long)])).toBeUndefined()
    expect(beyondBounds([asked(`=${long}`), asked(`${long}=1`)])).toContain('4194304 characters')
  })
})
