import { buildTrie, linkFailures, placeNodes } from './double-array.js'

/**
 * What an automaton reads: every UTF-16 unit stands for a symbol, and units of one symbol are the same to it.
 * `boundary` is the symbol of everything between words; runs of it count as one.
 */
export interface Alphabet {
  /** For each UTF-16 unit its symbol; 65,536 entries. */
  readonly symbolOf: Uint16Array
  readonly boundary: number | undefined
}

/** Finds all patterns at once, in one pass, whatever their number (Aho and Corasick 1975). */
export interface Automaton {
  /**
   * Calls `onMatch` for every occurrence, in order of their ends, with the number of the pattern and the offset
   * after its last unit; an occurrence that ends in a boundary ends before it.
   *
   * @returns the steps it took, at most two for each unit
   */
  scan(text: string, onMatch: (pattern: number, end: number) => void): number
}

/**
 * A longer run between two words parts them: 16 spaces or dashes are a layout, not a gap. It also bounds the
 * way back from the end of a match to its start.
 */
export const MAX_BOUNDARY_RUN = 16

/**
 * @param patterns symbols, each at least one long; of two equal ones the later is never found
 */
export function compileAutomaton(
  patterns: readonly (readonly number[])[],
  alphabet: Alphabet,
): Automaton {
  const { classOf, classes } = compressAlphabet(patterns, alphabet)
  const root = buildTrie(patterns, classes)
  const { base, check, order } = placeNodes(root, classes.size)
  const { fail, output, patternAt } = linkFailures(root, order, { base, check })
  const boundary = alphabet.boundary === undefined ? 0 : (classes.get(alphabet.boundary) ?? 0)

  const step = (state: number, symbolClass: number): number => {
    for (;;) {
      const next = (base[state] ?? 0) + symbolClass
      if (check[next] === state) return next
      if (state === 0) return 0
      state = fail[state] ?? 0
    }
  }
  const afterBoundary = boundary === 0 ? 0 : step(0, boundary)

  // Most of a text is at the root: its row is written out, so that a step there is one look-up.
  const fromRoot = Int32Array.from({ length: classes.size + 1 }, (_, symbolClass) =>
    symbolClass === 0 ? 0 : step(0, symbolClass),
  )

  const scan = (text: string, onMatch: (pattern: number, end: number) => void): number => {
    let state = afterBoundary
    let runLength = 1
    let steps = 0
    const report = (from: number, end: number): void => {
      for (let at = output[from] ?? 0; at !== 0; at = output[fail[at] ?? 0] ?? 0) {
        onMatch(patternAt[at] ?? 0, end)
      }
    }
    const length = text.length
    for (let index = 0; index < length; index++) {
      const symbolClass = classOf[text.charCodeAt(index)] ?? 0
      if (symbolClass === 0) {
        state = 0
        runLength = 0
        continue
      }
      if (symbolClass === boundary) {
        runLength++
        if (runLength > 1) {
          if (runLength === MAX_BOUNDARY_RUN) state = afterBoundary
          continue
        }
      } else {
        runLength = 0
      }
      // As `step`, written out: the call would cost a third of the scan.
      while (state !== 0) {
        steps++
        const next = (base[state] ?? 0) + symbolClass
        if (check[next] === state) break
        state = fail[state] ?? 0
      }
      state = state === 0 ? (fromRoot[symbolClass] ?? 0) : (base[state] ?? 0) + symbolClass
      if (output[state] !== 0) report(state, symbolClass === boundary ? index : index + 1)
    }
    // The end of a text is a boundary too.
    if (boundary !== 0 && runLength === 0) {
      state = step(state, boundary)
      if (output[state] !== 0) report(state, length)
    }
    return length + steps
  }
  return { scan }
}

/** Symbols that no pattern holds become class 0, which leads back to the root from everywhere. */
function compressAlphabet(
  patterns: readonly (readonly number[])[],
  alphabet: Alphabet,
): { classOf: Uint16Array; classes: Map<number, number> } {
  const classes = new Map<number, number>()
  for (const pattern of patterns) {
    for (const symbol of pattern) {
      if (!classes.has(symbol)) classes.set(symbol, classes.size + 1)
    }
  }
  const classOf = new Uint16Array(0x10000)
  for (let unit = 0; unit < 0x10000; unit++) {
    classOf[unit] = classes.get(alphabet.symbolOf[unit] ?? 0) ?? 0
  }
  return { classOf, classes }
}

const everyUnit = Uint16Array.from({ length: 0x10000 }, (_, unit) => unit)

/** An automaton for texts as they are, unit for unit. */
export function compileLiterals(literals: readonly string[]): Automaton {
  const patterns = literals.map((literal) =>
    Array.from({ length: literal.length }, (_, index) => literal.charCodeAt(index)),
  )
  return compileAutomaton(patterns, { symbolOf: everyUnit, boundary: undefined })
}
