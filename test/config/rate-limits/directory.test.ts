import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { lookAtDirectory } from '../../../src/config/rate-limits/directory.js'
import { loadRateLimits } from '../../../src/config/rate-limits/load.js'
import { ConfigError } from '../../../src/errors.js'

const directory = (): string => mkdtempSync(join(tmpdir(), 'tollgate-limits-'))
const namesIn = (path: string): readonly string[] =>
  lookAtDirectory(path).files.map((file) => file.slice(path.length + 1))

/** The message, with `DIR` for the directory. */
function refusalOf(path: string, act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof ConfigError) return error.message.replaceAll(path, 'DIR')
    throw error
  }
  return ''
}

test('every file of a directory and below it is read, whatever it is called', () => {
  const path = directory()
  mkdirSync(join(path, 'more', 'and'), { recursive: true })
  for (const name of ['b.yaml', 'a', 'more/c.txt', 'more/and/d.yml']) {
    writeFileSync(join(path, name), 'domain: d')
  }
  expect(namesIn(path)).toEqual(['a', 'b.yaml', 'more/and/d.yml', 'more/c.txt'])
})

test('files stand in the order of the names on their way', () => {
  const path = directory()
  for (const below of ['a', '..real/m', '..real/z']) {
    mkdirSync(join(path, below), { recursive: true })
    writeFileSync(join(path, below, 'x'), '')
  }
  for (const name of ['a.yaml', 'b', 'n', 'zz']) writeFileSync(join(path, name), '')
  for (const name of ['m', 'z']) symlinkSync(join('..real', name), join(path, name))
  expect(namesIn(path)).toEqual(['a/x', 'a.yaml', 'b', 'm/x', 'n', 'z/x', 'zz'])
})

test('a ConfigMap whose items have directories in their paths is read, and a swap of it seen', () => {
  const path = directory()
  for (const version of ['..1', '..2']) {
    mkdirSync(join(path, version, 'team', 'edge'), { recursive: true })
    writeFileSync(join(path, version, 'team', 'edge', 'limits.yaml'), 'domain: d')
  }
  symlinkSync('..1', join(path, '..data'))
  symlinkSync(join('..data', 'team'), join(path, 'team'))
  expect(namesIn(path)).toEqual(['team/edge/limits.yaml'])
  const { content } = lookAtDirectory(path)
  symlinkSync('..2', join(path, '..swap'))
  renameSync(join(path, '..swap'), join(path, '..data'))
  expect(namesIn(path)).toEqual(['team/edge/limits.yaml'])
  expect(lookAtDirectory(path).content).not.toBe(content)
})

test('each directory is read once, whatever links lead to it, and first under its own name', () => {
  const path = directory()
  const other = directory()
  mkdirSync(join(path, 'v1', 'deep'), { recursive: true })
  for (const file of [join(path, 'v1', 'a'), join(path, 'v1', 'deep', 'b'), join(other, 'c')]) {
    writeFileSync(file, '')
  }
  symlinkSync('v1', join(path, 'current'))
  symlinkSync('..', join(path, 'v1', 'up'))
  symlinkSync(other, join(path, 'v1', 'elsewhere'))
  symlinkSync(other, join(path, 'twice'))
  symlinkSync(path, join(other, 'back'))
  symlinkSync('loop', join(other, '.loop'))
  expect(namesIn(path)).toEqual(['twice/c', 'v1/a', 'v1/deep/b'])
})

test('names with a dot in front are left out, and links that lead nowhere or back', () => {
  const path = directory()
  writeFileSync(join(path, '.hidden'), '')
  mkdirSync(join(path, '..data'))
  writeFileSync(join(path, '..data', 'a.yaml'), '')
  symlinkSync(join('..data', 'a.yaml'), join(path, 'a.yaml'))
  symlinkSync('.', join(path, 'self'))
  symlinkSync('absent', join(path, 'nowhere'))
  expect(namesIn(path)).toEqual(['a.yaml'])
})

test('a directory looks different after every change of a file', () => {
  const path = directory()
  const file = join(path, 'a.yaml')
  const contents = new Set<string>()
  const look = (): number => contents.add(lookAtDirectory(path).content).size
  look()
  expect(look()).toBe(1)
  writeFileSync(file, 'domain: d')
  expect(look()).toBe(2)
  // The same length, at the same time of writing.
  utimesSync(file, 1, 1)
  look()
  writeFileSync(file, 'domain: e')
  utimesSync(file, 1, 1)
  expect(look()).toBe(4)
  writeFileSync(join(path, 'b'), 'domain: f')
  renameSync(join(path, 'b'), file)
  expect(look()).toBe(5)
  rmSync(file)
  expect(look()).toBe(5)
  expect(look()).toBe(5)
})

test('a directory is refused that is none, or holds too much', () => {
  const path = directory()
  const look = () => refusalOf(path, () => lookAtDirectory(path))
  rmSync(path, { recursive: true })
  expect(look()).toBe('DIR: expected a readable directory; there is none')
  writeFileSync(path, '')
  expect(look()).toBe('DIR: expected a readable directory; this is a file')
  rmSync(path)
  mkdirSync(path)
  for (let index = 0; index < 1001; index += 1) writeFileSync(join(path, String(index)), '')
  expect(look()).toBe('DIR: expected at most 1000 files')
  rmSync(path, { recursive: true })
  mkdirSync(path)
  writeFileSync(join(path, 'large'), '')
  truncateSync(join(path, 'large'), 8 * 1024 * 1024 + 1)
  expect(look()).toBe('DIR: expected files of at most 8388608 bytes together')
  rmSync(path, { recursive: true })
  mkdirSync(join(path, 'a/a/a/a/a/a/a/a'), { recursive: true })
  expect(look()).toBe('DIR: expected at most 8 directories below each other')
  rmSync(path, { recursive: true })
  mkdirSync(path)
  // It is one of them.
  for (let index = 1; index < 100; index += 1) mkdirSync(join(path, String(index)))
  expect(lookAtDirectory(path).files).toEqual([])
  mkdirSync(join(path, '100'))
  expect(look()).toBe('DIR: expected at most 100 directories')
})

test('names are bounded, whatever they lead to', () => {
  const kinds: readonly ((path: string, name: string) => void)[] = [
    (path, name) => {
      symlinkSync('absent', join(path, name))
    },
    (path, name) => {
      symlinkSync('below', join(path, name))
    },
    (path, name) => {
      writeFileSync(join(path, `.${name}`), '')
    },
  ]
  for (const add of kinds) {
    const path = directory()
    mkdirSync(join(path, 'below'))
    // Those of all directories together.
    for (let index = 0; index < 10; index += 1) add(join(path, 'below'), String(index))
    for (let index = 11; index < 2000; index += 1) add(path, String(index))
    expect(lookAtDirectory(path).files).toEqual([])
    add(path, 'more')
    expect(refusalOf(path, () => lookAtDirectory(path))).toBe(
      'DIR: expected at most 2000 names, those of links included',
    )
  }
})

test('a file that cannot be read hides no fault of another', () => {
  const path = directory()
  writeFileSync(join(path, 'a'), Buffer.from([0xff]))
  writeFileSync(join(path, 'b'), 'descriptors: []')
  const settings = { configDir: path, mergeDomains: false }
  expect(refusalOf(path, () => loadRateLimits(settings)).split('\n')).toEqual([
    'DIR/a:1: syntax is in another encoding; expected UTF-8',
    'DIR/b:1: domain is (missing); expected the domain of requests: a config file cannot have an empty domain',
  ])
})
