import { buildTrie, linkFailures, placeNodes } from './double-array.js'
import type { TrieNode } from './double-array.js'

/**
 * What an automaton reads: every UTF-16 unit stands for a symbol, and units of one symbol are the same to it.
 * `boundary` is the symbol of everything between words; a run of it counts as one, however much white space (units up
 * to U+0020) is in it.
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
   * @returns the steps it took, at most three for each unit
   */
  scan(text: string, onMatch: (pattern: number, end: number) => void): number
}

/** So many signs between two words part them: a line of dashes is a layout, not a gap. White space never does. */
export const MAX_BOUNDARY_SIGNS = 16
const LAST_SPACE = 0x20

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
    if (symbolClass === 0) return 0
    for (;;) {
      const next = (base[state] ?? 0) + symbolClass
      if (check[next] === state) return next
      if (state === 0) return 0
      state = fail[state] ?? 0
    }
  }
  const afterBoundary = boundary === 0 ? 0 : step(0, boundary)
  const rows = writeRows(order, {
    cells: check.length,
    classes: classes.size + 1,
    fail,
    output,
    step,
  })

  const scan = (text: string, onMatch: (pattern: number, end: number) => void): number => {
    const { table, width, cells } = rows
    let state = afterBoundary
    let inBoundary = true
    let signs = 0
    let slowSteps = 0
    const report = (from: number, end: number): void => {
      for (let at = output[from] ?? 0; at !== 0; at = output[fail[at] ?? 0] ?? 0) {
        onMatch(patternAt[at] ?? 0, end)
      }
    }
    const length = text.length
    for (let index = 0; index < length; index++) {
      const unit = text.charCodeAt(index)
      const symbolClass = classOf[unit] ?? 0
      if (symbolClass !== boundary || boundary === 0) {
        inBoundary = false
      } else {
        if (!inBoundary) signs = 0
        if (unit > LAST_SPACE && ++signs === MAX_BOUNDARY_SIGNS) state = afterBoundary
        if (inBoundary) continue
        inBoundary = true
      }
      if (symbolClass < width && state < cells) {
        state = table[state * width + symbolClass] ?? 0
        if (state >= 0) continue
        state = ~state
      } else {
        // As `step`, written out to count.
        while (state !== 0) {
          slowSteps++
          if (check[(base[state] ?? 0) + symbolClass] === state) break
          state = fail[state] ?? 0
        }
        state = state === 0 ? step(0, symbolClass) : (base[state] ?? 0) + symbolClass
        if (output[state] === 0) continue
      }
      report(state, symbolClass === boundary ? index : index + 1)
    }
    // The end of a text is a boundary too.
    if (boundary !== 0 && !inBoundary) {
      state = step(state, boundary)
      if (output[state] !== 0) report(state, length)
    }
    return length + slowSteps
  }
  return { scan }
}

/** Next states written out, so that a step is one look-up: for the first cells and the first classes. */
interface Rows {
  /** `table[cell * width + class]`; the complement of the next cell where a pattern ends there. */
  readonly table: Int32Array
  readonly width: number
  readonly cells: number
}

/** ASCII letters, digits and signs of any list fit; what is not in the rows costs a few look-ups more. */
const MAX_ROW_CLASSES = 64
/** 4 MiB at most. Nodes are placed from the root down, so the states where texts are nearly always lie below it. */
const MAX_ROW_CELLS = 16_384

function writeRows(
  order: readonly TrieNode[],
  automaton: {
    readonly cells: number
    readonly classes: number
    readonly fail: Int32Array
    readonly output: Int32Array
    readonly step: (state: number, symbolClass: number) => number
  },
): Rows {
  const { fail, output, step } = automaton
  const width = Math.min(automaton.classes, MAX_ROW_CLASSES)
  const cells = Math.min(automaton.cells, MAX_ROW_CELLS)
  const table = new Int32Array(cells * width)
  const entry = (next: number): number => (output[next] === 0 ? next : ~next)
  // In order of depth: a state does what its failure state does, but for its own children.
  for (const { cell, children } of order) {
    if (cell >= cells) continue
    const row = cell * width
    const failed = fail[cell] ?? 0
    if (failed < cells) table.copyWithin(row, failed * width, (failed + 1) * width)
    else for (let one = 1; one < width; one++) table[row + one] = entry(step(cell, one))
    for (const [label, child] of children) {
      if (label < width) table[row + label] = entry(child.cell)
    }
  }
  return { table, width, cells }
}

/** Symbols that no pattern holds become class 0, which leads back to the root from everywhere. */
function compressAlphabet(
  patterns: readonly (readonly number[])[],
  alphabet: Alphabet,
): { classOf: Uint16Array; classes: Map<number, number> } {
  // ASCII first: the lowest classes have the quickest steps.
  const symbols = [...new Set(patterns.flat())].sort((a, b) => a - b)
  const classes = new Map(symbols.map((symbol, index) => [symbol, index + 1] as const))
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
