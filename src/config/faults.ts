import type { ConfigFault, ConfigWarning } from '../errors.js'
import { apiKeyPrefix } from '../identity/api-keys.js'

/** More faults than a person mends in one sitting; what follows them is counted, not listed. */
const maxFaults = 200
const maxValueCharacters = 80

/** Where in a document: keys of mappings and indices of lists, from the top. */
export type KeyPath = readonly (string | number | EarlierKey)[]

/** A key that is given again in the same mapping: the how manieth of those before the last, from 0. */
export interface EarlierKey {
  readonly key: string
  readonly earlier: number
}

/** Takes the fault of the value at a path: what would be right in its place. */
export type SayFault = (at: KeyPath, expected: string) => void

/** A fault of the file as a whole. */
export function wholeFileFault(file: string, expected: string): ConfigFault {
  return { file, line: 0, key: 'file', value: '', expected }
}

/** Sorted by line, each once, and at most `maxFaults` of them with the number of the rest. */
export function boundFaults(file: string, faults: readonly ConfigFault[]): readonly ConfigFault[] {
  const kept = eachOnce(faults)
  if (kept.length <= maxFaults) return kept
  const rest = kept.length - maxFaults
  return [
    ...kept.slice(0, maxFaults),
    wholeFileFault(file, `fewer faults: ${String(rest)} more are not listed`),
  ]
}

/** As `boundFaults`. */
export function boundWarnings(
  file: string,
  warnings: readonly ConfigWarning[],
): readonly ConfigWarning[] {
  return firstWarnings(file, eachOnce(warnings))
}

/** Those of several files together: as many as else of one. */
export function firstWarnings(
  directory: string,
  warnings: readonly ConfigWarning[],
): readonly ConfigWarning[] {
  if (warnings.length <= maxFaults) return warnings
  return [...warnings.slice(0, maxFaults), restOf(directory, warnings.length - maxFaults)]
}

function restOf(file: string, count: number): ConfigWarning {
  const fault = wholeFileFault(file, `fewer warnings: ${String(count)} more are not listed`)
  return { ...fault, holds: '' }
}

function eachOnce<Fault extends ConfigFault>(faults: readonly Fault[]): readonly Fault[] {
  const seen = new Set<string>()
  const kept = faults.filter((fault) => {
    const identity = `${String(fault.line)} ${fault.key} ${fault.expected}`
    if (seen.has(identity)) return false
    seen.add(identity)
    return true
  })
  return kept.sort((left, right) => left.line - right.line)
}

/** One printable line of at most 80 characters, without an API key that somebody wrote where none belongs. */
export function shorten(text: string): string {
  const line = hideApiKeys(text.replace(/[\s\p{Cc}]+/gu, ' ').trim())
  return line.length > maxValueCharacters ? `${line.slice(0, maxValueCharacters - 3)}...` : line
}

/** With all that follows it: a key that is folded over two lines, or has an escape in it, goes on behind that. */
function hideApiKeys(text: string): string {
  const at = text.indexOf(apiKeyPrefix)
  return at === -1 ? text : `${text.slice(0, at)}${apiKeyPrefix}***`
}

/** As `quotas[0].limit`; `file` for the file itself. */
export function formatPath(path: KeyPath): string {
  if (path.length === 0) return 'file'
  let text = ''
  for (const each of path) {
    const part = typeof each === 'object' ? each.key : each
    if (typeof part === 'number') text += `[${String(part)}]`
    else if (/^[\w-]{1,64}$/.test(part)) text += hideApiKeys(text === '' ? part : `.${part}`)
    else text += `[${JSON.stringify(shorten(part))}]`
  }
  return text
}
