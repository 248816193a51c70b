import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { longLivedHeapBytes, nodeOptions } from '../src/heap.js'

const LIMIT_BYTES = 2 ** 32

/** Where NODE_OPTIONS is this text. */
function optionsOf(text: string): readonly string[] {
  const before = process.env['NODE_OPTIONS']
  process.env['NODE_OPTIONS'] = text
  try {
    return nodeOptions()
  } finally {
    if (before === undefined) delete process.env['NODE_OPTIONS']
    else process.env['NODE_OPTIONS'] = before
  }
}

test.each<[options: readonly string[], megabytes: number]>([
  [['--max-old-space-size=384'], 384],
  [['--max_old_space_size=384'], 384],
  [['--max-old-space-size=128', '--expose-gc', '--max-old-space-size=256'], 256],
  // Zero is V8's own choice.
  [['--max-old-space-size=0'], 4096],
  [['--max-old-space-size=128', '--max_old_space_size=0'], 4096],
  [['--max-old-space-size=0', '--max-old-space-size=128'], 128],
  [['--max-old-space-size=100000'], 4096],
  [['', '--max-semi-space-size=1', '--title=--max-old-space-size=1'], 4096],
  [[], 4096],
])('with %j it is %i MiB', (options, megabytes) => {
  expect(longLivedHeapBytes(options, LIMIT_BYTES)).toBe(megabytes * 2 ** 20)
})

// What Node itself makes of the same text.
test.each([
  '"--max-old-space-size=300"',
  '--max-old-space-size="300"',
  '--max-old-"space-size=3"00  ""',
  '--title=" x"  --max-old-space-size=300',
  '"--title=\\" --max-old-space-size=64 \\\\" --max-old-space-size=300',
  '--title=a\\"b c" --max-old-space-size=300',
  '"--max-old-space-\\size=300"',
])('NODE_OPTIONS of %s choose 300 MiB', (text) => {
  const limitBytes = execFileSync(
    process.execPath,
    ['-p', 'v8.getHeapStatistics().heap_size_limit'],
    { env: { NODE_OPTIONS: text } },
  )
  // With the young generation, which is 192 MiB at most.
  const youngBytes = Number(limitBytes) - 300 * 2 ** 20
  expect(youngBytes).toBeGreaterThanOrEqual(0)
  expect(youngBytes).toBeLessThanOrEqual(192 * 2 ** 20)
  expect(longLivedHeapBytes(optionsOf(text), LIMIT_BYTES)).toBe(300 * 2 ** 20)
})

test('what the arguments of the process say counts more than its environment', () => {
  const options = optionsOf('--max-old-space-size=100  --title=x')
  expect(options.slice(0, 2)).toEqual(['--max-old-space-size=100', '--title=x'])
  expect(options.slice(2)).toEqual(process.execArgv)
})
