import type { ConfigFault } from '../errors.js'
import { apiKeyPrefix } from '../identity/api-keys.js'

/** More faults than a person mends in one sitting; what follows them is counted, not listed. */
const maxFaults = 200
const maxValueCharacters = 80

/** Where in a document: keys of mappings and indices of lists, from the top. */
export type KeyPath = readonly (string | number)[]

/** Takes the fault of the value at a path: what would be right in its place. */
export type SayFault = (at: KeyPath, expected: string) => void

/** A fault of the file as a whole. */
export function wholeFileFault(file: string, expected: string): ConfigFault {
  return { file, line: 0, key: 'file', value: '', expected }
}

/** Sorted by line, each once, and at most `maxFaults` of them with the number of the rest. */
export function boundFaults(file: string, faults: readonly ConfigFault[]): readonly ConfigFault[] {
  const seen = new Set<string>()
  const kept = faults.filter((fault) => {
    const identity = `${String(fault.line)} ${fault.key} ${fault.expected}`
    if (seen.has(identity)) return false
    seen.add(identity)
    return true
  })
  kept.sort((left, right) => left.line - right.line)
  if (kept.length <= maxFaults) return kept
  const rest = kept.length - maxFaults
  return [
    ...kept.slice(0, maxFaults),
    wholeFileFault(file, `fewer faults: ${String(rest)} more are not listed`),
  ]
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
  for (const part of path) {
    if (typeof part === 'number') text += `[${String(part)}]`
    else if (/^[\w-]{1,64}$/.test(part)) text += hideApiKeys(text === '' ? part : `.${part}`)
    else text += `[${JSON.stringify(shorten(part))}]`
  }
  return text
}
