import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml'
import type { Alias, ErrorCode, Node, Pair, ScalarTag, YAMLMap } from 'yaml'
import { ConfigError } from '../errors.js'
import type { ConfigFault } from '../errors.js'
import { MIB_BYTES } from '../units.js'
import { boundFaults, formatPath, shorten, wholeFileFault } from './faults.js'
import type { KeyPath } from './faults.js'

/** A file larger than this is refused unread: a policy has kilobytes, and reading 1 MiB of hostile YAML takes seconds. */
export const maxFileBytes = MIB_BYTES

/** A YAML file as plain data, and the means to say where in the file something is. */
export interface YamlDocument {
  /** Mappings as objects without prototype, lists as arrays, scalars; undefined when the file says nothing. */
  readonly value: unknown
  /** The fault of the value at `path`. A key that is missing is shown on the line of what lacks it. */
  fault(path: KeyPath, expected: string): ConfigFault
  /** The fault of the key at `path` itself: `what` it is stands in the place of its value, which is not shown. */
  keyFault(path: KeyPath, what: string, expected: string): ConfigFault
}

/** An alias costs two characters and unfolds to all that it names, so that a few lines can become gigabytes. */
const maxValues = 200_000

const noTag = 'no tag (a word after !)'

/** Where the library's sentence is advice for a programmer. */
const syntaxSentences: Partial<Record<ErrorCode, string>> = {
  MULTIPLE_DOCS: 'one document, without a second one after ---',
  TAG_RESOLVE_FAILED: noTag,
}

export interface ReadOptions {
  /**
   * `refuse`: an alias is a fault, and so is every tag. `follow`: an alias stands for the value it names, `maxValues`
   * of them in all, and a tag of YAML itself, as `!!str`, is taken.
   */
  readonly aliases: 'refuse' | 'follow'
  /** What stands for a scalar in `value`; what it is by the rules of YAML 1.2, if not given. */
  readonly scalarOf?: (scalar: ReadScalar) => unknown
  /** Tags of YAML by their name, and what fits each, in quotes or not; those of YAML 1.2, if not given. */
  readonly scalarTags?: Readonly<Record<string, (text: string) => boolean>>
}

export interface ReadScalar {
  /** By the rules of YAML 1.2. */
  readonly value: unknown
  /** As written, without quotes. */
  readonly source: string
  /** Without quotes, so that the rules decide what it is. */
  readonly isPlain: boolean
  /** As `tag:yaml.org,2002:str`, or `!`. */
  readonly tag: string | undefined
}

const yamlTag = 'tag:yaml.org,2002:'

function customTag([name, fits]: readonly [string, (text: string) => boolean]): ScalarTag {
  return {
    tag: yamlTag + name,
    default: false,
    resolve: (text, onError) => {
      if (!fits(text)) onError(`no !!${name}`)
      // A key that is no text is refused by its value.
      return name === 'str' ? text : null
    },
  }
}

/**
 * Reads one YAML 1.2 document strictly: one document, each key once, keys are text, no tags but YAML's own. Merge keys
 * (`<<`) are ordinary keys, hence unknown ones where nobody knows them.
 *
 * @throws ConfigError with every fault of the syntax at once
 */
export function readYaml(file: string, text: string, options: ReadOptions): YamlDocument {
  if (Buffer.byteLength(text) > maxFileBytes) {
    throw new ConfigError([wholeFileFault(file, `at most ${String(maxFileBytes)} bytes`)])
  }
  const lines = new LineCounter()
  // Duplicate keys are looked for below: the library compares all pairs, which is quadratic in the keys.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
    strict: true,
    customTags: Object.entries(options.scalarTags ?? {}).map(customTag),
  })
  const lineOf = (offset: number): number => lines.linePos(offset).line
  const faults: ConfigFault[] = []
  const tags = Object.keys(options.scalarTags ?? {}).map((name) => `!!${name}`)
  const sentences =
    tags.length === 0
      ? syntaxSentences
      : { ...syntaxSentences, TAG_RESOLVE_FAILED: `no tag, or one of ${tags.join(', ')} that fits` }
  for (const problem of [...document.errors, ...document.warnings]) {
    // Only the library's sentence, never the text around it: that could be a secret in the wrong place.
    faults.push({
      file,
      line: lineOf(problem.pos[0]),
      key: 'syntax',
      value: '',
      expected: sentences[problem.code] ?? `YAML 1.2, but: ${shorten(problem.message)}`,
    })
  }
  const anchors = new Map<string, Node>()
  const targets = new WeakMap<Alias, Node>()
  visit(document, {
    Node: (_, node) => {
      if (isAlias(node)) {
        const target = anchors.get(node.source)
        if (options.aliases === 'follow' && target !== undefined) {
          targets.set(node, target)
          return
        }
        const expected =
          options.aliases === 'follow' ? 'an alias of an anchor above it' : 'no alias: write it out'
        const line = lineOf(node.range?.[0] ?? 0)
        faults.push({ file, line, key: 'syntax', value: '', expected })
      } else if ('anchor' in node && node.anchor !== undefined) {
        anchors.set(node.anchor, node)
      }
      if (options.aliases === 'refuse' && 'tag' in node && isKnownTag(node.tag)) {
        const line = lineOf(node.range?.[0] ?? 0)
        faults.push({ file, line, key: 'syntax', value: '', expected: noTag })
      }
      if (isMap(node)) faults.push(...keyProblems(file, node, lineOf))
    },
  })
  if (faults.length > 0) throw new ConfigError(boundFaults(file, faults))

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
    fault: (path, expected) => {
      const { line, node } = locate(root, path, lineOf, follow)
      return {
        file,
        line,
        key: formatPath(path),
        value: node === undefined ? '(missing)' : valueAsWritten(text, node),
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

/** Of a tag that it knows, as `!!str`, the library says nothing. */
function isKnownTag(tag: string | undefined): boolean {
  return tag !== undefined && (tag === '!' || tag.startsWith(yamlTag))
}

function keyProblems(
  file: string,
  map: YAMLMap,
  lineOf: (offset: number) => number,
): readonly ConfigFault[] {
  const faults: ConfigFault[] = []
  const firstLine = new Map<string, number>()
  for (const pair of map.items) {
    const line = lineOf(startOf(pair))
    if (!isScalar(pair.key) || typeof pair.key.value !== 'string') {
      faults.push({ file, line, key: 'syntax', value: '', expected: 'a key that is plain text' })
      continue
    }
    const key = pair.key.value
    const first = firstLine.get(key)
    if (first === undefined) {
      firstLine.set(key, line)
    } else {
      const expected = `each key once; the first is on line ${String(first)}`
      faults.push({ file, line, key: formatPath([key]), value: '', expected })
    }
  }
  return faults
}

function startOf(pair: Pair): number {
  const key = pair.key as Node | null
  return key?.range?.[0] ?? 0
}

type Follow = (node: unknown) => unknown

const tooLarge = Symbol('more than maxValues values')

/** Own conversion: an object without prototype makes `__proto__` and `constructor` ordinary, unknown keys. */
function plainValue(
  root: unknown,
  follow: Follow,
  scalarOf: NonNullable<ReadOptions['scalarOf']>,
): unknown {
  let count = 0
  function convert(unresolved: unknown, depth: number): unknown {
    count += 1
    // An anchor that holds an alias of itself has no end: the count finds it, or the depth before it.
    if (count > maxValues || depth > 256) return tooLarge
    const node = follow(unresolved)
    if (isMap(node)) {
      const object = Object.create(null) as Record<string, unknown>
      for (const pair of node.items) {
        if (!isScalar(pair.key) || typeof pair.key.value !== 'string') continue
        const value = convert(pair.value, depth + 1)
        if (value === tooLarge) return tooLarge
        object[pair.key.value] = value
      }
      return object
    }
    if (isSeq(node)) {
      const list: unknown[] = []
      for (const item of node.items) {
        const value = convert(item, depth + 1)
        if (value === tooLarge) return tooLarge
        list.push(value)
      }
      return list
    }
    if (!isScalar(node)) return scalarOf({ value: null, source: '', isPlain: true, tag: undefined })
    const { value, source = '', type, tag } = node
    return scalarOf({ value, source, isPlain: type === undefined || type === 'PLAIN', tag })
  }
  return convert(root, 0)
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
    if (isMap(node) && typeof part === 'string') {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === part)
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

/**
 * No key of the policy holds a secret, and the value of an unknown key is never shown; what is left are secrets in
 * the place of a file name or inside a URL.
 */
function valueAsWritten(text: string, node: Node): string {
  if (isMap(node)) {
    const name = node.items.find((pair) => isScalar(pair.key) && pair.key.value === 'name')?.value
    if (isScalar(name)) return `a mapping named ${valueAsWritten(text, name)}`
    return node.items.length === 0 ? '{}' : 'a mapping'
  }
  if (isSeq(node)) return node.items.length === 0 ? '[]' : 'a list'
  if (node.range == null) return '(missing)'
  const written = text.slice(node.range[0], node.range[1])
  if (written === '') return 'empty'
  if (written.includes('-----BEGIN')) return '(not shown)'
  // The password of a URL, as in https://user:password@host.
  return shorten(written.replace(/\/\/[^/@\s]*@/, '//***@'))
}
