import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.js'
import { ConfigError } from '../../src/errors.js'
import { runs } from '../runs.js'
import { policyFile } from '../../src/config/schema.js'
import { aModel, aPath, aPattern, aTenant, goodPolicy, singleFaults } from './single-faults.js'
import type { SingleFault } from './single-faults.js'

const sectionNames = Object.keys(policyFile.shape).join(', ')

/** What is said about the good policy with these faults in it. */
function messagesOf(faults: readonly SingleFault[]): readonly string[] {
  const policy = structuredClone(goodPolicy)
  for (const { edits } of faults) {
    for (const [key, value] of Object.entries(edits)) write(policy, partsOf(key), value)
  }
  try {
    // JSON is YAML; a key whose value is undefined is left out.
    loadConfig('policy.yaml', JSON.stringify(policy, null, 1))
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.faults.map((fault) => `${fault.key} expected ${fault.expected}`)
  }
}

/** `quotas[0].limit` as its parts; a part that is a number is text here, which JavaScript takes as well. */
function partsOf(key: string): readonly string[] {
  return key.split(/[.[\]]+/).filter((part) => part !== '')
}

function write(target: object, parts: readonly string[], value: unknown): void {
  const [first = '', ...rest] = parts
  const holder = target as Record<string, unknown>
  if (rest.length === 0) holder[first] = value
  else write(holder[first] as object, rest, value)
}

/** Do the keys overlap: is one of them the other, or inside it? */
function overlap(left: string, right: string): boolean {
  const [shorter, longer] = [partsOf(left), partsOf(right)].sort((a, b) => a.length - b.length)
  return shorter?.every((part, index) => longer?.[index] === part) ?? false
}

/** Can both be made at once, and said? Not where they edit one key, or one edits what the other's rule reads. */
function independent(left: SingleFault, right: SingleFault): boolean {
  const meets = (one: SingleFault, other: SingleFault): boolean =>
    Object.keys(one.edits).some((edited) =>
      [...Object.keys(other.edits), ...other.needs].some((key) => overlap(edited, key)),
    )
  return !meets(left, right) && !meets(right, left)
}

function independentOf(faults: readonly SingleFault[]): readonly SingleFault[] {
  const kept: SingleFault[] = []
  for (const fault of faults) {
    if (kept.every((other) => independent(other, fault))) kept.push(fault)
  }
  return kept
}

describe('every fault at once', () => {
  test('is none in the good policy', () => {
    expect(messagesOf([])).toEqual([])
  })

  test.each(singleFaults.map((fault) => [fault.message, fault] as const))(
    'is one where there is one: %s',
    (message, fault) => {
      expect(messagesOf([fault])).toEqual([message])
    },
  )

  test('is each of those that were made, and no other', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([...singleFaults], { minLength: 2 }), (drawn) => {
        const faults = independentOf(drawn)
        expect([...messagesOf(faults)].sort()).toEqual(faults.map(({ message }) => message).sort())
      }),
      { numRuns: runs(60) },
    )
  })

  test.each<readonly [string, SingleFault['edits'], string]>([
    [
      'a list that is none',
      { models: 'llama-70b' },
      'models expected a list of at most 1000 entries',
    ],
    ['an entry that is no mapping', { 'quotas[2]': 'metered' }, 'quotas[2] expected a mapping'],
    [
      'a quota whose models are wrong',
      { 'quotas[2].models[0]': 7 },
      `quotas[2].models[0] expected ${aPattern}`,
    ],
    [
      'a quota whose shadow is wrong',
      { 'quotas[2].shadow': 'no' },
      'quotas[2].shadow expected true or false',
    ],
    [
      'a dimension that may be group',
      { 'quotas[4].by[0]': 'groups' },
      'quotas[4].by[0] expected one of tenant, subject, client, model, group, pool, route, spiffe, api_key, or claim:NAME as claim:department',
    ],
    [
      'conditions that may be there',
      { 'grants[0].tenants': 'acme', 'grants[0].groups': [] },
      'grants[0].tenants expected a list',
    ],
    [
      'a model that may be the one',
      { 'models[0].name': 'llama 70b' },
      `models[0].name expected ${aModel}`,
    ],
    [
      'a path that may be the one',
      { 'paths[1].path': 'v1/models' },
      `paths[1].path expected ${aPath}`,
    ],
    [
      'a tenant that may be the one',
      { 'issuers[0].tenant.fixed': 7 },
      `issuers[0].tenant.fixed expected ${aTenant}`,
    ],
    [
      'a section in another spelling',
      { quotas: undefined, quota: goodPolicy.quotas },
      `quota expected one of ${sectionNames}`,
    ],
    [
      'a key in another spelling',
      { 'listen.grpc': undefined, 'listen.tls': undefined, 'listen.grcp': '0.0.0.0:1' },
      'listen.grcp expected one of grpc, tls, metrics, admin',
    ],
  ])('is followed by no other: %s', (_, edits, message) => {
    expect(messagesOf([{ edits, message, needs: [] }])).toEqual([message])
  })

  test('is told of the items of a list that is too long, too', () => {
    const edits = { 'models[2].extraFields': ['a b', ...Array<string>(200).fill('x')] }
    expect(messagesOf([{ edits, message: '', needs: [] }])).toEqual([
      'models[2].extraFields expected at most 200 items in the list',
      'models[2].extraFields[0] expected the name of a request field, or *',
    ])
  })

  test('is six where six mistakes stand in three entries', () => {
    const written = {
      'models[1].streamUsage': 'injekt',
      'models[1].aliases': ['llama-70b'],
      'quotas[1].timezone': 'Europe/Berln',
      'quotas[1].by': ['tennant'],
      'inspection.prohibited[3].phrases': ['x'],
      'inspection.prohibited[3].patterns': ['(?=a)'],
    }
    expect(messagesOf([{ edits: written, message: '', needs: [] }])).toHaveLength(6)
  })
})
