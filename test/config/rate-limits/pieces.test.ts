import fc from 'fast-check'
import { expect, test } from 'vitest'
import { growConfig, piecesOf } from '../../../src/config/rate-limits/pieces.js'
import { buildConfig } from '../../../src/ratelimit/tree.js'
import type { FileDescriptor, RateLimitConfig } from '../../../src/ratelimit/tree.js'
import { node, ruleOf } from '../../ratelimit/trees.js'
import { runs } from '../../runs.js'

/** Through as many messages between threads. */
function handedOver(config: RateLimitConfig): RateLimitConfig {
  const growing = growConfig()
  for (const piece of piecesOf(config)) growing.add(structuredClone(piece))
  return growing.config
}

/** All that there is, in the order in which it is looked up. */
function inOrder({ domains }: RateLimitConfig): unknown {
  const level = ({ nodes, patterns }: ReturnType<typeof firstOf>): unknown => ({
    nodes: [...nodes].map(([name, { next, ...said }]) => [name, said, level(next)]),
    patterns: patterns.map(({ pattern, node: { rule } }) => [pattern, rule]),
  })
  return [...domains].map(([name, first]) => [name, level(first)])
}
const firstOf = ({ domains }: RateLimitConfig) => domains.values().next().value ?? fail()
function fail(): never {
  throw new Error('no domain')
}

test('what was taken apart grows back, every tree of rules', () => {
  const written = fc.constantFrom('a', 'b', 'c=1', 'c=2', 'd=*', 'd=x*', 'd=*x*y', 'e*')
  const { descriptors } = fc.letrec<{ descriptors: readonly FileDescriptor[] }>((tie) => ({
    descriptors: fc.uniqueArray(
      fc
        .record({
          written,
          differences: fc.record({
            rule: fc.constantFrom(
              undefined,
              ruleOf(1, { name: 'n', replaces: ['m'], shadowMode: true, quotaMode: true }),
              ruleOf(1, { limit: undefined, metadata: { deep: { of: ['text', 1, null] } } }),
            ),
            detailedMetric: fc.boolean(),
            valueToMetric: fc.boolean(),
            shareThreshold: fc.boolean(),
            descriptors: fc.oneof(
              { maxDepth: 5, withCrossShrink: true },
              fc.constant([]),
              tie('descriptors'),
            ),
          }),
        })
        .map((each) => node(each.written, each.differences)),
      { maxLength: 8, selector: ({ key, value }) => `${key}=${value}` },
    ),
  }))
  fc.assert(
    fc.property(fc.array(descriptors, { maxLength: 3 }), (files) => {
      const config = buildConfig(
        files.map((those, index) => ({ domain: `d${String(index)}`, descriptors: those })),
      )
      const again = handedOver(config)
      expect(again).toEqual(config)
      expect(inOrder(again)).toEqual(inOrder(config))
    }),
    { numRuns: runs(200) },
  )
})

test('no piece is large, and all are together as large as the tree', () => {
  const below = Array.from({ length: 300 }, (_, index) => node(`b${String(index)}`))
  const descriptors = [
    node('a=*', { descriptors: below }),
    ...below,
    node('c', { descriptors: below }),
  ]
  const config = buildConfig([
    { domain: 'd', descriptors },
    { domain: 'e', descriptors: [] },
    { domain: 'f', descriptors },
  ])
  const sizes = [...piecesOf(config)].map(({ length }) => length)
  expect(Math.max(...sizes)).toBe(200)
  expect(sizes.slice(0, -1).every((size) => size === 200)).toBe(true)
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(3 + 2 * 902)
  expect(inOrder(handedOver(config))).toEqual(inOrder(config))
  // A pattern's node is the one that the exact text finds.
  const first = firstOf(handedOver(config))
  expect(first.patterns[0]?.node).toBe(first.nodes.get('a_*'))
})

test('of nothing there is no piece', () => {
  expect([...piecesOf(buildConfig([]))]).toEqual([])
})
