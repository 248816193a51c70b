/** A text in which each `*` stands for any run of characters, also for none; taken apart once, when a file is read. */
export interface Pattern {
  /** As it is written. */
  readonly text: string
  /** What stands before the first `*`, and after the last. */
  readonly prefix: string
  readonly suffix: string
  /** What stands between two of them, in order. */
  readonly middle: readonly Part[]
}

interface Part {
  readonly text: string
  /** For each length of a beginning of the text: the longest shorter one that this beginning also ends with. */
  readonly borders: readonly number[]
}

/** How many characters may still be looked at between stars; below 0: they were too few, and what was found is void. */
export interface Looks {
  left: number
}

export function isPattern(text: string): boolean {
  return text.includes('*')
}

/** @param text with at least one `*` */
export function compilePattern(text: string): Pattern {
  const [prefix = '', ...rest] = text.split('*')
  const suffix = rest.pop() ?? ''
  const middle = rest.filter((part) => part !== '')
  return {
    text,
    prefix,
    suffix,
    middle: middle.map((part) => ({ text: part, borders: bordersOf(part) })),
  }
}

/**
 * Each part is looked for once, from where the one before it ended, and the leftmost place is the right one: so there
 * is nothing to go back for, and the work is linear in the text whatever the pattern.
 */
export function matches({ prefix, suffix, middle }: Pattern, text: string, looks: Looks): boolean {
  const end = text.length - suffix.length
  if (end < prefix.length || !text.startsWith(prefix) || !text.endsWith(suffix)) return false
  let from = prefix.length
  for (const part of middle) {
    const stop = Math.min(end, from + looks.left)
    const after = endOf(part, text, from, stop)
    if (after === undefined) {
      looks.left = stop < end ? -1 : looks.left - (end - from)
      return false
    }
    looks.left -= after - from
    from = after
  }
  return true
}

/** Knuth, Morris and Pratt: `indexOf` may take the product of both lengths. */
function endOf(
  { text: part, borders }: Part,
  text: string,
  from: number,
  end: number,
): number | undefined {
  const length = part.length
  let matched = 0
  for (let at = from; at < end; at += 1) {
    const code = text.charCodeAt(at)
    while (matched > 0 && part.charCodeAt(matched) !== code) matched = borders[matched] ?? 0
    if (part.charCodeAt(matched) === code) matched += 1
    if (matched === length) return at + 1
  }
  return undefined
}

function bordersOf(part: string): readonly number[] {
  const borders = [0, 0]
  for (let at = 1; at < part.length; at += 1) {
    let length = borders[at] ?? 0
    while (length > 0 && part[length] !== part[at]) length = borders[length] ?? 0
    borders.push(part[length] === part[at] ? length + 1 : 0)
  }
  return borders
}
