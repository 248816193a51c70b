import { expect, test } from 'vitest'
import { longLivedHeapBytes, nodeOptions } from '../src/heap.js'

const LIMIT_BYTES = 2 ** 32

test.each<[options: readonly string[], megabytes: number]>([
  [['--max-old-space-size=384'], 384],
  [['--max_old_space_size=384'], 384],
  [['--max-old-space-size=128', '--expose-gc', '--max-old-space-size=256'], 256],
  // Zero is V8's own choice.
  [['--max-old-space-size=0'], 4096],
  [['--max-old-space-size=100000'], 4096],
  [['', '--max-semi-space-size=1', '--title=--max-old-space-size=1'], 4096],
  [[], 4096],
])('with %j it is %i MiB', (options, megabytes) => {
  expect(longLivedHeapBytes(options, LIMIT_BYTES)).toBe(megabytes * 2 ** 20)
})

test('what the arguments of the process say counts more than its environment', () => {
  const before = process.env['NODE_OPTIONS']
  process.env['NODE_OPTIONS'] = '--max-old-space-size=100  --title=x'
  try {
    expect(nodeOptions().slice(0, 2)).toEqual(['--max-old-space-size=100', '--title=x'])
    expect(nodeOptions().slice(2)).toEqual(process.execArgv)
  } finally {
    if (before === undefined) delete process.env['NODE_OPTIONS']
    else process.env['NODE_OPTIONS'] = before
  }
})
