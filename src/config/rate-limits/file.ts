import { ConfigError } from '../../errors.js'
import type { ConfigFault, ConfigWarning } from '../../errors.js'
import { isPattern } from '../../ratelimit/pattern.js'
import { beyondLevel, compositeKey } from '../../ratelimit/tree.js'
import type { FileDescriptor } from '../../ratelimit/tree.js'
import { boundFaults, boundWarnings, shorten, wholeFileFault } from '../faults.js'
import type { KeyPath } from '../faults.js'
import { readYaml } from '../yaml-document.js'
import type { YamlDocument } from '../yaml-document.js'
import type { Member } from './keys.js'
import { flagAt, mappingAt, placeOf, say, sayOfKey, textAt } from './reader.js'
import type { Read } from './reader.js'
import { readRule } from './rule.js'
import { isNothing, scalarOf, scalarTags } from './scalars.js'

/** Levels of descriptors: as many entries as a descriptor of a request may have and still find a rule. */
const maxLevels = 32

/**
 * Domain of Tollgate's own reports, which no file may limit: a call of it settles a reservation. It is that of
 * `envoy/report.ts`, which this room does not know.
 */
export const reservedDomain = 'tollgate'

/** A descriptor of the first level. */
export interface Root {
  readonly composite: string
  readonly at: KeyPath
  /** As messages show it. */
  readonly what: string
}

/** One file, read as far as it goes. */
export interface FileReading {
  readonly file: string
  readonly faults: readonly ConfigFault[]
  readonly warnings: readonly ConfigWarning[]
  /** Empty where it is wrong. */
  readonly domain: string
  /** What of it is sound. */
  readonly descriptors: readonly FileDescriptor[]
  /** The descriptors that no other stands above, by their composite key. */
  readonly roots: readonly Root[]
  /** How many descriptors it has in all. */
  readonly descriptorCount: number
  fault(at: KeyPath, expected: string): ConfigFault
  /** As `YamlDocument.keyFault`. */
  keyFault(at: KeyPath, what: string, expected: string): ConfigFault
}

/**
 * Reads one file of envoyproxy/ratelimit's YAML. Every fault that it would find is one; what it passes over without a word
 * is a warning, and has the effect that it has there.
 */
export function readRateLimitFile(file: string, text: string): FileReading {
  const warnings: ConfigWarning[] = []
  const warn = (warning: ConfigWarning): void => {
    warnings.push(warning)
  }
  try {
    refuseControls(file, text)
    return read(
      file,
      readYaml(file, text, { aliases: 'follow', scalarOf, scalarTags, warn }),
      warnings,
    )
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const { faults } = error
    const fault = (_: KeyPath, expected: string): ConfigFault => wholeFileFault(file, expected)
    const keyFault = (_: KeyPath, __: string, expected: string): ConfigFault => fault([], expected)
    const nothing = { domain: '', descriptors: [], roots: [], descriptorCount: 0 }
    return { file, faults, warnings: boundWarnings(file, warnings), ...nothing, fault, keyFault }
  }
}

function read(
  file: string,
  document: YamlDocument,
  ofSyntax: readonly ConfigWarning[],
): FileReading {
  const told = new Set(document.faults.map(placeOf))
  const context: Read = { document, told, faults: [], warnings: [], descriptorCount: 0 }
  const { value } = document
  checkVersion(context)
  const isEmpty = value === undefined || isNothing(value)
  const members = isEmpty ? new Map<string, Member>() : mappingAt(context, value, [], 'file')
  const domain = readDomain(context, members)
  const { descriptors, roots } = readLevel(context, members?.get('descriptors'), domain, 1)
  const { faults, warnings, descriptorCount } = context
  return {
    file,
    faults: boundFaults(file, [...document.faults, ...faults]),
    warnings: boundWarnings(file, [...ofSyntax, ...warnings]),
    domain,
    descriptors,
    roots,
    descriptorCount,
    fault: (at, expected) => document.fault(at, expected),
    keyFault: (at, what, expected) => document.keyFault(at, what, expected),
  }
}

/**
 * What ends a line for envoyproxy/ratelimit alone: the YAML library here reads on, so that a key behind it would be
 * part of a text or of a comment.
 */
const lineBreaks = '\r\x85\u2028\u2029'
/** What is left are control characters, with which envoyproxy/ratelimit reads no file. */
const unread = /[^\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u

/** @throws ConfigError with the first on each line */
function refuseControls(file: string, text: string): void {
  const faults = text.split(/\r?\n/).flatMap((line, index) => {
    const found = unread.exec(line)
    if (found === null) return []
    const [character] = found
    const code = character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0') ?? ''
    const value = `U+${code} at column ${String(found.index + 1)}`
    const expected = lineBreaks.includes(character)
      ? 'no line break but LF or CRLF'
      : 'no control characters'
    return [{ file, line: index + 1, key: 'syntax', value, expected }]
  })
  if (faults.length > 0) throw new ConfigError(boundFaults(file, faults))
}

function checkVersion({ document, faults }: Read): void {
  const { version } = document
  if (version === undefined || version === '1.1') return
  faults.push(document.keyFault([], `%YAML ${version}`, '%YAML 1.1, or no such line'))
}

function readDomain(context: Read, members: ReadonlyMap<string, Member> | undefined): string {
  if (members === undefined) return ''
  const at = members.get('domain')?.at ?? ['domain']
  const domain = textAt(context, members.get('domain'), 'the domain of requests')
  if (domain === '') {
    say(context, at, 'the domain of requests: a config file cannot have an empty domain')
  }
  if (domain !== reservedDomain) return domain ?? ''
  say(context, at, `a domain other than ${reservedDomain}, in which Envoy reports to Tollgate`)
  return ''
}

/** @param parent the composite keys above, as a person would write the place */
function readLevel(
  context: Read,
  member: Member | undefined,
  parent: string,
  level: number,
): Pick<FileReading, 'descriptors' | 'roots'> {
  if (member === undefined || isNothing(member.value)) return { descriptors: [], roots: [] }
  const { value, at } = member
  if (!Array.isArray(value)) {
    say(context, at, 'a list of descriptors')
    return { descriptors: [], roots: [] }
  }
  if (level > maxLevels) {
    say(context, at, `at most ${String(maxLevels)} levels of descriptors`)
    return { descriptors: [], roots: [] }
  }
  const descriptors: FileDescriptor[] = []
  const roots = new Map<string, Root>()
  for (const [index, item] of (value as readonly unknown[]).entries()) {
    const where = [...at, index]
    context.descriptorCount += 1
    const members = mappingAt(context, item, where, 'descriptor')
    if (members === undefined) continue
    const descriptor = readDescriptor(context, members, where, parent, level)
    if (descriptor === undefined) continue
    const composite = compositeKey(descriptor.key, descriptor.value)
    const first = roots.get(composite)
    const what = inWords(descriptor)
    if (first === undefined) {
      roots.set(composite, { composite, at: where, what })
      descriptors.push(descriptor)
    } else {
      const { line } = context.document.fault(first.at, '')
      const expected = anotherKey(`${parent}.${composite}`, `on line ${String(line)}`)
      sayOfKey(context, where, what, expected)
    }
  }
  const beyond = beyondLevel([...roots.keys()])
  if (beyond !== undefined) say(context, at, beyond)
  return { descriptors, roots: [...roots.values()] }
}

function inWords({ key, value }: FileDescriptor): string {
  return shorten(value === '' ? `key ${key}` : `key ${key}, value ${value}`)
}

/** What a descriptor is to be where its place is taken. */
export function anotherKey(composite: string, firstPlace: string): string {
  return `another key or value: ${composite} is a duplicate descriptor composite key, the first is ${firstPlace}`
}

function readDescriptor(
  context: Read,
  members: ReadonlyMap<string, Member>,
  at: KeyPath,
  parent: string,
  level: number,
): FileDescriptor | undefined {
  const key = textAt(context, members.get('key'), 'the key of an entry')
  const value = textAt(context, members.get('value'), 'the value of an entry, or a pattern with *')
  if (key === '') {
    say(
      context,
      members.get('key')?.at ?? [...at, 'key'],
      'the key of an entry: a descriptor has no empty key',
    )
  }
  const composite = key === undefined || value === undefined ? '' : compositeKey(key, value)
  const flag = (name: string): boolean => flagAt(context, members.get(name))
  const shareThreshold = flag('share_threshold')
  if (shareThreshold && composite !== '' && !isPattern(composite)) {
    const where = members.get('share_threshold')?.at ?? at
    say(context, where, 'false: share_threshold can only be used with a wildcard value (with a *)')
  }
  const descriptor = {
    key: key ?? '',
    value: value ?? '',
    rule: readRule(context, members, flag('shadow_mode'), flag('quota_mode')),
    detailedMetric: flag('detailed_metric'),
    valueToMetric: flag('value_to_metric'),
    shareThreshold,
    descriptors: readLevel(context, members.get('descriptors'), `${parent}.${composite}`, level + 1)
      .descriptors,
  }
  return composite === '' || key === '' ? undefined : descriptor
}
