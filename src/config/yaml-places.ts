import { isPair, isScalar } from 'yaml'
import type { Node, Pair } from 'yaml'
import type { KeyPath } from './faults.js'

/** Where nodes of a document stand, told while it is walked. */
export interface Places {
  /** @param index of an item in its list */
  enter(index: unknown, node: Node): void
  /**
   * Of so many nodes, after that it is empty: each has to be put together.
   *
   * @param above what the node stands in, the outermost first
   */
  of(node: Node, above: readonly object[]): KeyPath
}

const maxPlaced = 1000

export function createPlaces(): Places {
  const indices = new WeakMap<object, number>()
  let placed = 0

  function partOf(at: object): KeyPath {
    if (isPair(at)) return [keyAsWritten(at)]
    const index = indices.get(at)
    return index === undefined ? [] : [index]
  }

  return {
    enter(index, node) {
      if (typeof index === 'number') indices.set(node, index)
    },
    of(node, above) {
      placed += 1
      return placed > maxPlaced ? [] : [...above, node].flatMap(partOf)
    },
  }
}

/** A key that is no scalar is `?`. */
export function keyAsWritten({ key }: Pair): string {
  return isScalar(key) ? (key.source ?? String(key.value)) : '?'
}
