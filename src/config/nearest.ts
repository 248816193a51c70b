/** No key of the policy is nearly as long: a longer one is no slip of the fingers. */
const maxCharacters = 64

/**
 * The word that was most likely meant, whatever its case and hyphens; undefined where none is near: more than two
 * fifths of the characters would be other ones.
 */
export function nearest(written: string, words: readonly string[]): string | undefined {
  if (written.length > maxCharacters) return undefined
  const plain = withoutCase(written)
  let best: { readonly word: string; readonly edits: number } | undefined
  for (const word of words) {
    const candidate = withoutCase(word)
    const longer = Math.max(plain.length, candidate.length)
    // Each character that one has more is an edit: most words need no further look.
    if (5 * Math.abs(plain.length - candidate.length) > 2 * longer) continue
    const edits = editsBetween(plain, candidate)
    if (5 * edits <= 2 * longer && edits < (best?.edits ?? Infinity)) best = { word, edits }
  }
  return best?.word
}

function withoutCase(text: string): string {
  return text.toLowerCase().replace(/[-_]/g, '')
}

/** Characters to add, to leave out, to change, or to swap with the next one (optimal string alignment). */
function editsBetween(left: string, right: string): number {
  let beforeLast: readonly number[] = []
  let last = Array.from({ length: right.length + 1 }, (_, column) => column)
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= right.length; column += 1) {
      const changed = left[row - 1] === right[column - 1] ? 0 : 1
      const swapped = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]
      current[column] = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + changed,
        swapped && row > 1 && column > 1 ? (beforeLast[column - 2] ?? 0) + 1 : Infinity,
      )
    }
    beforeLast = last
    last = current
  }
  return last[right.length] ?? 0
}
