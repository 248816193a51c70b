import { compileAutomaton } from './aho-corasick.js'
import { isWordUnit } from './fold.js'
import { foldText } from './view.js'

/** One occurrence of a phrase in a folded text. */
export type OnPhrase = (phrase: number, start: number, end: number) => void

/** Finds whole phrases, word by word, in the folded form of a text. */
export interface PhraseMatcher {
  /** Calls `onPhrase` in order of the ends. @returns the steps it took, linear in the text */
  scan(folded: string, onPhrase: OnPhrase): number
}

export interface PhraseOptions {
  /** Also read digits and signs as the letters that they are often written for: `1gn0r3` is `ignore`. */
  readonly lookAlikeDigits?: boolean
}

// `1` stands for i and for l, so these two letters are one symbol as well.
const DIGIT_LETTERS: Readonly<Record<string, string>> = {
  '0': 'o',
  '1': 'i',
  l: 'i',
  '3': 'e',
  '€': 'e',
  '4': 'a',
  '@': 'a',
  '5': 's',
  $: 's',
  '6': 'g',
  '7': 't',
  '8': 'b',
  '9': 'g',
}

const BOUNDARY = 0x20

const exactSymbols = symbolTable({})
const lookAlikeSymbols = symbolTable(DIGIT_LETTERS)

function symbolTable(equal: Readonly<Record<string, string>>): Uint16Array {
  const symbolOf = new Uint16Array(0x10000)
  for (let unit = 0; unit < 0x10000; unit++) symbolOf[unit] = isWordUnit(unit) ? unit : BOUNDARY
  for (const [from, to] of Object.entries(equal)) symbolOf[from.charCodeAt(0)] = to.charCodeAt(0)
  return symbolOf
}

/**
 * Scripts that put no space between words, or hang particles onto them: there a phrase may stand anywhere.
 * Hangul, kana, Han, Thai, Lao, Khmer, Myanmar.
 */
function isUnspaced(unit: number): boolean {
  return (
    (unit >= 0x0e00 && unit <= 0x0eff) ||
    (unit >= 0x1000 && unit <= 0x109f) ||
    (unit >= 0x1780 && unit <= 0x17ff) ||
    (unit >= 0x3040 && unit <= 0x30ff) ||
    (unit >= 0x3400 && unit <= 0x9fff) ||
    (unit >= 0xac00 && unit <= 0xd7a3)
  )
}

/** Does the phrase hold anything to look for once it is folded? One of punctuation alone does not. */
export function isSearchable(phrase: string): boolean {
  return toSymbols(phrase, exactSymbols).some((symbol) => symbol !== BOUNDARY)
}

/**
 * @param phrases as people write them; a `*` at the end lets a longer word match (`instruct*`). Between two words
 *   any white space may stand, and punctuation up to `MAX_BOUNDARY_SIGNS` units. Number k is reported as k; of equal
 *   phrases each is reported. A phrase that is not `isSearchable` never matches.
 */
export function compilePhrases(
  phrases: readonly string[],
  options: PhraseOptions = {},
): PhraseMatcher {
  const symbolOf = options.lookAlikeDigits === true ? lookAlikeSymbols : exactSymbols
  const patterns: (readonly number[])[] = []
  const numbersOf: number[][] = []
  const known = new Map<string, number>()
  phrases.forEach((phrase, number) => {
    const symbols = toSymbols(phrase, symbolOf)
    if (!symbols.some((symbol) => symbol !== BOUNDARY)) return
    const key = symbols.join()
    const pattern = known.get(key) ?? patterns.length
    if (pattern === patterns.length) {
      known.set(key, pattern)
      patterns.push(symbols)
      numbersOf.push([])
    }
    numbersOf[pattern]?.push(number)
  })
  const automaton = compileAutomaton(patterns, { symbolOf, boundary: BOUNDARY })
  return {
    scan: (folded, onPhrase) =>
      automaton.scan(folded, (pattern, end) => {
        const start = startOf(folded, patterns[pattern] ?? [], end, symbolOf)
        for (const number of numbersOf[pattern] ?? []) onPhrase(number, start, end)
      }),
  }
}

function toSymbols(phrase: string, symbolOf: Uint16Array): readonly number[] {
  const isStem = phrase.endsWith('*')
  const folded = foldText(isStem ? phrase.slice(0, -1) : phrase)
  const symbols: number[] = []
  for (let index = 0; index < folded.length; index++) {
    const symbol = symbolOf[folded.charCodeAt(index)] ?? BOUNDARY
    if (symbol === BOUNDARY && (symbols.length === 0 || symbols.at(-1) === BOUNDARY)) continue
    symbols.push(symbol)
  }
  if (symbols.at(-1) === BOUNDARY) symbols.pop()
  const first = symbols[0]
  const last = symbols.at(-1)
  if (first === undefined || last === undefined) return []
  return [
    ...(isUnspaced(first) ? [] : [BOUNDARY]),
    ...symbols,
    ...(isStem || isUnspaced(last) ? [] : [BOUNDARY]),
  ]
}

/** Walks back from the end of a match; each boundary of the pattern may be a run in the text. */
function startOf(
  folded: string,
  pattern: readonly number[],
  end: number,
  symbolOf: Uint16Array,
): number {
  let index = end
  const first = pattern[0] === BOUNDARY ? 1 : 0
  let last = pattern.length - 1
  if (pattern[last] === BOUNDARY) last--
  for (let k = last; k >= first; k--) {
    index--
    if (pattern[k] !== BOUNDARY) continue
    while (index > 0 && symbolOf[folded.charCodeAt(index - 1)] === BOUNDARY) index--
  }
  return index
}
