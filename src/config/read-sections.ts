import type { z } from 'zod'
import type { ConfigFault } from '../errors.js'
import { entries, maxEntries } from './schema-entries.js'
import { sectionNames, sections } from './schema.js'
import type { Entry } from './schema-entries.js'
import type { Sections } from './schema.js'
import { oneOf } from './values.js'
import type { KeyPath } from './faults.js'
import type { YamlDocument } from './yaml-document.js'

/** The entries of one list that are well formed, each with its place in the file. */
export interface Entries<T> {
  readonly items: readonly { readonly at: KeyPath; readonly value: T }[]
  /** False when an entry was wrong: then nothing may be concluded from what is not in `items`. */
  readonly complete: boolean
}

/** What of the file is well formed by itself; rules that join several keys are checked on it afterwards. */
export interface FileContent {
  /** A section that is wrong is not there. */
  readonly sections: Partial<Sections>
  readonly issuers: Entries<Entry<'issuers'>>
  readonly models: Entries<Entry<'models'>>
  readonly paths: Entries<Entry<'paths'>>
  readonly grants: Entries<Entry<'grants'>>
  readonly quotas: Entries<Entry<'quotas'>>
}

/** Reads every section by itself, so that a fault in one hides none in another. Faults go to `report`. */
export function readSections(
  document: YamlDocument,
  report: (fault: ConfigFault) => void,
): FileContent {
  const file = document.value
  const root = isMapping(file) ? file : {}
  if (!isMapping(file)) {
    report(document.fault([], `a mapping with keys of ${sectionNames.join(', ')}`))
  }
  for (const key of Object.keys(root)) {
    if (!sectionNames.includes(key)) {
      report(document.keyFault([key], `${oneOf(sectionNames)} (the key is unknown)`))
    }
  }

  function read<T>(schema: z.ZodType<T>, at: KeyPath, value: unknown): { value: T } | undefined {
    const result = schema.safeParse(value)
    if (result.success) return { value: result.data }
    for (const issue of result.error.issues) {
      const path = [...at, ...issue.path.map(asKey)]
      if (issue.code === 'unrecognized_keys') {
        for (const key of issue.keys) {
          report(document.keyFault([...path, key], `${issue.message} (the key is unknown)`))
        }
      } else {
        report(document.fault(path, issue.message))
      }
    }
    return undefined
  }

  function readEntries<Key extends keyof typeof entries>(key: Key): Entries<Entry<Key>> {
    const list = root[key]
    if (list === undefined) return { items: [], complete: true }
    if (!Array.isArray(list) || list.length > maxEntries) {
      report(document.fault([key], `a list of at most ${String(maxEntries)} entries`))
      return { items: [], complete: false }
    }
    // The compiler does not follow a generic key into the table: it sees the union of all schemas, not this key's own.
    const schema = entries[key] as unknown as z.ZodType<Entry<Key>>
    const items = list.flatMap((entry: unknown, index) => {
      const at = [key, index]
      const result = read(schema, at, entry)
      return result === undefined ? [] : [{ at, value: result.value }]
    })
    return { items, complete: items.length === list.length }
  }

  const wellFormed: Record<string, unknown> = {}
  for (const [key, schema] of Object.entries(sections)) {
    const result = read<unknown>(schema, [key], root[key])
    if (result !== undefined) wellFormed[key] = result.value
  }
  return {
    sections: wellFormed,
    issuers: readEntries('issuers'),
    models: readEntries('models'),
    paths: readEntries('paths'),
    grants: readEntries('grants'),
    quotas: readEntries('quotas'),
  }
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function asKey(part: PropertyKey): string | number {
  return typeof part === 'symbol' ? String(part) : part
}
