import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { alone, faults } from './projects.js'

const root = join(import.meta.dirname, '..')
const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => join('test', file))
const tests = files.filter((file) => file.endsWith('.test.ts'))
const texts = new Map(files.map((file) => [file, readFileSync(join(root, file), 'utf8')]))

function isIn(globs: readonly string[], file: string): boolean {
  return globs.some((glob) => {
    const pattern = glob
      .replaceAll('.', '\\.')
      .replaceAll('**/', '(.+/)?')
      .replaceAll(/(?<!\.)\*/g, '[^/]*')
    return new RegExp(`^${pattern}$`).test(file)
  })
}

/** The file, and what it imports of the tests, and what that does. */
function withHelpers(file: string, found = new Set<string>()): ReadonlySet<string> {
  const text = texts.get(file)
  if (text === undefined || found.has(file)) return found
  found.add(file)
  for (const [, specifier = ''] of text.matchAll(/from '(\.[^']+)\.js'/g)) {
    withHelpers(`${join(dirname(file), specifier)}.ts`, found)
  }
  return found
}

const mocks = /^vi\.(do)?[mM]ock\(/m
const hooks = /^(before|after)(All|Each)\(/m

test('what would be seen by other files of the same process runs alone', () => {
  const seen = tests.filter((file) =>
    [...withHelpers(file)].some((each) => {
      const text = texts.get(each) ?? ''
      return mocks.test(text) || (each !== file && hooks.test(text))
    }),
  )
  expect(seen.length).toBeGreaterThan(0)
  expect(seen.filter((file) => !isIn(alone, file))).toEqual([])
})

test('each of the lists has files', () => {
  for (const glob of [...alone, ...faults]) {
    expect(tests.filter((file) => isIn([glob], file))).not.toEqual([])
  }
})
