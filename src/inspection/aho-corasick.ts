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

interface TrieNode {
  readonly children: Map<number, TrieNode>
  pattern: number
  cell: number
}

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

function buildTrie(
  patterns: readonly (readonly number[])[],
  classes: ReadonlyMap<number, number>,
): TrieNode {
  const root: TrieNode = { children: new Map(), pattern: -1, cell: 0 }
  patterns.forEach((pattern, number) => {
    let node = root
    for (const symbol of pattern) {
      const symbolClass = classes.get(symbol) ?? 0
      let child = node.children.get(symbolClass)
      if (child === undefined) {
        child = { children: new Map(), pattern: -1, cell: 0 }
        node.children.set(symbolClass, child)
      }
      node = child
    }
    if (node.pattern === -1) node.pattern = number
  })
  return root
}

/**
 * A double array (Aoe 1989): the child of the state in cell s for class c lies in cell base[s] + c, and check[]
 * of that cell says s. A table of states x classes would be hundreds of times larger for a list in Chinese.
 */
function placeNodes(
  root: TrieNode,
  classCount: number,
): { base: Int32Array; check: Int32Array; order: readonly TrieNode[] } {
  let base = new Int32Array(1024 + classCount)
  let check = new Int32Array(1024 + classCount).fill(-1)
  check[0] = 0
  const order: TrieNode[] = [root]
  // No cell below `firstFree` is free.
  let firstFree = 1
  for (const node of order) {
    if (node.children.size === 0) continue
    const labels = [...node.children.keys()].sort((a, b) => a - b)
    const lowest = labels[0] ?? 1
    let offset = Math.max(firstFree - lowest, 0)
    let tries = 0
    while (labels.some((label) => (check[offset + label] ?? -1) !== -1)) {
      offset++
      tries++
      // A few holes may stay: without this a large list would be placed in quadratic time.
      if (tries === 64) firstFree = Math.max(firstFree, offset)
    }
    const needed = offset + classCount + 1
    if (needed >= check.length) {
      const size = Math.max(needed + 1, check.length * 2)
      base = copied(base, size, 0)
      check = copied(check, size, -1)
    }
    base[node.cell] = offset
    for (const [label, child] of node.children) {
      child.cell = offset + label
      check[child.cell] = node.cell
      order.push(child)
    }
    while (check[firstFree] !== -1) firstFree++
  }
  return { base, check, order }
}

function copied(from: Int32Array, size: number, fill: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(size).fill(fill)
  to.set(from)
  return to
}

/**
 * fail[s]: the state of the longest proper suffix of s that is a prefix of a pattern. output[s]: the nearest
 * state on the way s, fail[s], fail[fail[s]], ... where a pattern ends, or 0.
 */
function linkFailures(
  root: TrieNode,
  order: readonly TrieNode[],
  { base, check }: { base: Int32Array; check: Int32Array },
): { fail: Int32Array; output: Int32Array; patternAt: Int32Array } {
  const fail = new Int32Array(check.length)
  const output = new Int32Array(check.length)
  const patternAt = new Int32Array(check.length)
  // In order of depth, so that what a node refers to is finished.
  for (const node of order) {
    for (const [label, child] of node.children) {
      let state = fail[node.cell] ?? 0
      let target = 0
      while (node !== root) {
        const next = (base[state] ?? 0) + label
        if (check[next] === state && next !== 0) {
          target = next
          break
        }
        if (state === 0) break
        state = fail[state] ?? 0
      }
      fail[child.cell] = target
    }
    patternAt[node.cell] = node.pattern
    output[node.cell] = node.pattern === -1 ? (output[fail[node.cell] ?? 0] ?? 0) : node.cell
  }
  return { fail, output, patternAt }
}

const everyUnit = Uint16Array.from({ length: 0x10000 }, (_, unit) => unit)

/** An automaton for texts as they are, unit for unit. */
export function compileLiterals(literals: readonly string[]): Automaton {
  const patterns = literals.map((literal) =>
    Array.from({ length: literal.length }, (_, index) => literal.charCodeAt(index)),
  )
  return compileAutomaton(patterns, { symbolOf: everyUnit, boundary: undefined })
}
