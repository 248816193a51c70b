import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml'
import type { Alias, Node, Pair, YAMLMap } from 'yaml'
import { ConfigError } from '../errors.js'
import type { ConfigFault, ConfigWarning } from '../errors.js'
import { apiKeyPrefix } from '../identity/api-keys.js'
import { MIB_BYTES } from '../units.js'
import { boundFaults, formatPath, shorten, wholeFileFault } from './faults.js'
import type { KeyPath } from './faults.js'
import { firstDocument } from './yaml-first-document.js'
import { createPlaces, keyAsWritten } from './yaml-places.js'
import { syntaxSentence } from './yaml-syntax.js'
import { createTags, noTags, tagCodes } from './yaml-tags.js'
import type { ScalarTags } from './yaml-tags.js'
import { maxValues, plainValue, tooLarge } from './yaml-values.js'
import type { Follow, ReadScalar } from './yaml-values.js'

/** A file larger than this is refused unread: a policy has kilobytes, and reading 1 MiB of hostile YAML takes seconds. */
export const maxFileBytes = MIB_BYTES

/** A YAML file as plain data, and the means to say where in the file something is. */
export interface YamlDocument {
  /** Mappings as objects without prototype, lists as arrays, scalars; undefined when the file says nothing. */
  readonly value: unknown
  /** Those that hinder nobody to read the rest, where somebody is warned; else such a file is refused, too. */
  readonly faults: readonly ConfigFault[]
  /** What `%YAML` says; undefined where it is not there. */
  readonly version: string | undefined
  /** The fault of the value at `path`. A key that is missing is shown on the line of what lacks it. */
  fault(path: KeyPath, expected: string): ConfigFault
  /** The fault of the key at `path` itself: `what` it is stands in the place of its value, which is not shown. */
  keyFault(path: KeyPath, what: string, expected: string): ConfigFault
}

export interface ReadOptions {
  /**
   * `refuse`: an alias is a fault, and so is every tag. `follow`: an alias stands for the value it names, `maxValues`
   * of them in all, and a tag of what YAML is made of, as `!!str`, is taken.
   */
  readonly aliases: 'refuse' | 'follow'
  /** What stands for a scalar in `value`; what it is by the rules of YAML 1.2, if not given. */
  readonly scalarOf?: (scalar: ReadScalar) => unknown
  /** Taken too where aliases are followed, or with a meaning of their own: see `tag` of `ReadScalar`. */
  readonly scalarTags?: ScalarTags
  /**
   * Reads what Go's yaml.v2 reads, too, and is told of it: the first of several documents, and a tag that is not known.
   * Nobody is told of a key that is given again, but it is no fault: the last holds, and `givenOf` knows those before.
   */
  readonly warn?: (warning: ConfigWarning) => void
}

/**
 * Reads one YAML document strictly: one document, each key once, keys are text, no tags but a few of YAML's own. Merge keys
 * (`<<`) are ordinary keys, hence unknown ones where nobody knows them.
 *
 * @throws ConfigError with every fault of the syntax at once, those of `YamlDocument.faults` among them
 */
export function readYaml(file: string, whole: string, options: ReadOptions): YamlDocument {
  if (Buffer.byteLength(whole) > maxFileBytes) {
    throw new ConfigError([wholeFileFault(file, `at most ${String(maxFileBytes)} bytes`)])
  }
  const lines = new LineCounter()
  const { warn } = options
  const tags =
    options.aliases === 'refuse' ? noTags : createTags(options.scalarTags, warn !== undefined)
  const first = warn === undefined ? { text: whole, end: undefined } : firstDocument(whole)
  const { text, end } = first
  if (end !== undefined) {
    const expected = `one document, without a second one after ${end.marker}`
    const value = 'more than one document'
    warn?.({ file, line: end.line, key: 'file', value, expected, holds: 'only the first is read' })
  }
  // Duplicate keys are looked for below: the library compares all pairs, which is quadratic in the keys.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
    strict: true,
    customTags: [...tags.custom],
    // Or `%YAML 1.1` would change what words mean, and `<<` would be no text.
    ...(options.aliases === 'follow' ? { schema: 'core' as const } : {}),
    // Or `!!set` would be no mapping.
    ...(warn === undefined ? {} : { resolveKnownTags: false }),
  })
  const lineOf = (offset: number): number => lines.linePos(offset).line
  const faults: ConfigFault[] = []
  const places = createPlaces()
  const anchors = new Map<string, Node>()
  const targets = new WeakMap<Alias, Node>()
  /** Lines of which enough is said: what else the library finds there follows from it. */
  const toldLines = new Set<number>()
  visit(document, {
    Node: (index, node, above) => {
      places.enter(index, node)
      const faultOf = (value: string, expected: string): ConfigFault => {
        const line = lineOf(node.range?.[0] ?? 0)
        return { file, line, key: formatPath(places.of(node, above)), value, expected }
      }
      const say = (value: string, expected: string): void => {
        faults.push(faultOf(value, expected))
      }
      if (isAlias(node)) {
        const target = anchors.get(node.source)
        if (options.aliases === 'refuse') say('an alias', 'no alias: write it out')
        else if (target !== undefined) targets.set(node, target)
        else say(shorten(`*${node.source}`), 'an alias of an anchor above it')
        return
      }
      if (node.anchor !== undefined) anchors.set(node.anchor, node)
      const wrongTag = tags.problemOf(node)
      if (wrongTag?.holds !== undefined) {
        warn?.({ ...faultOf(wrongTag.value, wrongTag.expected), holds: wrongTag.holds })
      } else if (wrongTag !== undefined) {
        toldLines.add(lineOf(node.range?.[0] ?? 0))
        say(wrongTag.value, wrongTag.expected)
      }
      const escape = warn === undefined ? undefined : refusedEscapeOf(node, text)
      if (escape !== undefined) say(`written with ${escape}`, escapeExpected)
      if (!isMap(node)) return
      const mayRepeat = warn !== undefined
      const problems = keyProblems(file, node, lineOf, () => places.of(node, above), mayRepeat)
      faults.push(...problems.faults)
      for (const fault of problems.repeatedMerges) warn?.({ ...fault, holds: 'merged last' })
    },
  })
  // Of a tag that is not known it only warns, and here all is said of it.
  const { errors, warnings } = document
  const others = warnings.filter(({ code }) => warn === undefined || !tagCodes.includes(code))
  const problems = [...errors, ...others]
  for (const { code, message, pos } of problems) {
    const { line, col } = lines.linePos(pos[0])
    if (toldLines.has(line)) continue
    toldLines.add(line)
    const expected = syntaxSentence({ code, message })
    faults.push({ file, line, key: 'syntax', value: `wrong at column ${String(col)}`, expected })
  }
  if (problems.length > 0 || (warn === undefined && faults.length > 0)) {
    throw new ConfigError(boundFaults(file, faults))
  }

  const root = document.contents
  const follow: Follow = (node) => (isAlias(node) ? targets.get(node) : node)
  const value =
    root === null ? undefined : plainValue(root, follow, options.scalarOf ?? (({ value }) => value))
  if (value === tooLarge) {
    throw new ConfigError([
      wholeFileFault(file, `at most ${String(maxValues)} values, those of aliases included`),
    ])
  }
  return {
    value,
    faults,
    version:
      document.directives?.yaml.explicit === true ? document.directives.yaml.version : undefined,
    fault: (path, expected) => {
      const { line, node } = locate(root, path, lineOf, follow)
      return {
        file,
        line,
        key: formatPath(path),
        value: node === undefined ? '(missing)' : shownAt(path, text, node),
        expected,
      }
    },
    keyFault: (path, what, expected) => ({
      file,
      line: locate(root, path, lineOf, follow).line,
      key: formatPath(path),
      value: what,
      expected,
    }),
  }
}

/** Of what the library knows: YAML 1.1 has none of a slash, and Go's yaml.v2 takes no half of a character. */
const escapes = /\\(?:(\/|u[dD][89a-fA-F]..|U0000[dD][89a-fA-F]..)|.)/gs
const escapeExpected = '/ as it is, and a character beyond U+FFFF as one escape, as \\U0001F600'

function refusedEscapeOf(node: Node, text: string): string | undefined {
  if (!isScalar(node) || node.type !== 'QUOTE_DOUBLE' || node.range == null) return undefined
  const [from, to] = node.range
  for (const [escape, refused] of text.slice(from, to).matchAll(escapes)) {
    if (refused !== undefined) return escape
  }
  return undefined
}

function keyProblems(
  file: string,
  map: YAMLMap,
  lineOf: (offset: number) => number,
  place: () => KeyPath,
  mayRepeat: boolean,
): { readonly faults: readonly ConfigFault[]; readonly repeatedMerges: readonly ConfigFault[] } {
  const faults: ConfigFault[] = []
  const repeatedMerges: ConfigFault[] = []
  const firstLine = new Map<string, number>()
  for (const pair of map.items) {
    const line = lineOf(startOf(pair))
    const problem = (value: string, expected: string): ConfigFault => {
      const key = formatPath([...place(), keyAsWritten(pair)])
      return { file, line, key, value, expected }
    }
    if (!isScalar(pair.key) || typeof pair.key.value !== 'string') {
      const expected = 'a key that is plain text, in quotes if it looks like something else'
      faults.push(problem('no text', expected))
      continue
    }
    const key = pair.key.value
    const first = firstLine.get(key)
    if (first === undefined) firstLine.set(key, line)
    else if (!mayRepeat) faults.push(problem('given again', onceExpected(first)))
    else if (key === '<<') repeatedMerges.push(problem('given again', onceExpected(first)))
  }
  return { faults, repeatedMerges }
}

/** Of a key that is given again. */
export function onceExpected(firstLine: number): string {
  return `each key once: the first is on line ${String(firstLine)}`
}

function startOf(pair: Pair): number {
  const key = pair.key as Node | null
  return key?.range?.[0] ?? 0
}

function locate(
  root: unknown,
  path: KeyPath,
  lineOf: (offset: number) => number,
  follow: Follow,
): { line: number; node: Node | undefined } {
  let node = follow(root)
  let line = 1
  for (const part of path) {
    if (isMap(node) && typeof part !== 'number') {
      const key = typeof part === 'string' ? part : part.key
      const isIt = ({ key: at }: Pair): boolean => isScalar(at) && at.value === key
      const pair =
        typeof part === 'string' ? node.items.findLast(isIt) : node.items.filter(isIt)[part.earlier]
      if (pair === undefined) return { line, node: undefined }
      line = lineOf(startOf(pair))
      node = follow(pair.value)
    } else if (isSeq(node) && typeof part === 'number') {
      const item = node.items[part] as Node | undefined
      if (item?.range == null) return { line, node: undefined }
      line = lineOf(item.range[0])
      node = follow(item)
    } else {
      return { line, node: undefined }
    }
  }
  return { line, node: isPair(node) || node === null ? undefined : (node as Node) }
}

/** Whoever writes the key in the place of its hash, or the hash in another form, shall not read it in a log. */
const neverShown: readonly unknown[] = ['sha256']

function shownAt(path: KeyPath, text: string, node: Node): string {
  return neverShown.includes(path.at(-1)) ? '(not shown)' : valueAsWritten(text, node)
}

/**
 * No key of the policy holds a secret, and the value of an unknown key is never shown; what is left are secrets in
 * the place of a file name, a name or inside a URL.
 */
function valueAsWritten(text: string, node: Node): string {
  if (isMap(node)) {
    const name = node.items.find((pair) => isScalar(pair.key) && pair.key.value === 'name')?.value
    if (isScalar(name)) return `a mapping named ${valueAsWritten(text, name)}`
    return node.items.length === 0 ? '{}' : 'a mapping'
  }
  if (isSeq(node)) return node.items.length === 0 ? '[]' : 'a list'
  if (node.range == null) return '(missing)'
  const written = asMeant(node) ?? text.slice(node.range[0], node.range[1])
  if (written === '') return 'empty'
  if (written.includes('-----BEGIN')) return '(not shown)'
  return shorten(hidePassword(written))
}

/**
 * Where escapes and folds can hide what is not to be shown: in quotes `tgk\x5f` begins an API key too, and `\x40` ends
 * a password.
 */
function asMeant(node: Node): string | undefined {
  if (!isScalar(node) || typeof node.value !== 'string') return undefined
  const { value } = node
  return value.includes(apiKeyPrefix) || hidePassword(value) !== value ? value : undefined
}

/**
 * The password of a URL, as in https://user:password@host: all up to the last `@`, since one that is folded over two
 * lines has a space in it, and others a slash or an `@`.
 */
function hidePassword(text: string): string {
  const [from, to] = [text.indexOf('//'), text.lastIndexOf('@')]
  return from === -1 || to < from ? text : `${text.slice(0, from)}//***${text.slice(to)}`
}
