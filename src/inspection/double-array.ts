export interface TrieNode {
  readonly children: Map<number, TrieNode>
  pattern: number
  cell: number
}

/** A trie of patterns whose symbols are numbered from 1. */
export function buildTrie(
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
export function placeNodes(
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
export function linkFailures(
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
