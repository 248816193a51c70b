import type { Alphabet } from './secret-formats.js'

const member: Readonly<Record<Alphabet | 'value' | 'name', Uint8Array>> = {
  alphanumeric: setOf('a-zA-Z0-9'),
  base64url: setOf('a-zA-Z0-9_-'),
  base64: setOf('a-zA-Z0-9+/='),
  hex: setOf('0-9a-fA-F'),
  upperBase32: setOf('A-Z2-7'),
  dotted: setOf('a-zA-Z0-9_./-'),
  value: setOf('a-zA-Z0-9_.!@#$%^&*+/=~?-'),
  name: setOf('a-zA-Z0-9_-'),
}

function setOf(ranges: string): Uint8Array {
  const set = new Uint8Array(0x80)
  const expression = new RegExp(`[${ranges}]`)
  for (let unit = 0; unit < set.length; unit++) {
    set[unit] = expression.test(String.fromCharCode(unit)) ? 1 : 0
  }
  return set
}

/** Runs of one kind of character. A run is measured once: anchors inside it see its end for free. */
export interface CharacterRuns {
  readonly text: string
  /** End of the run of `kind` that begins at `from`; `from` itself where none does. */
  endOf: (kind: keyof typeof member, from: number) => number
  /** End of the text of a PEM block that begins at `from`: up to two dashes or a character that no block holds. */
  endOfPem: (from: number) => number
  steps: () => number
}

export function createRuns(text: string): CharacterRuns {
  const known = new Map<string, { from: number; end: number }>()
  let steps = 0
  const measure = (key: string, from: number, belongs: (index: number) => boolean): number => {
    const run = known.get(key)
    if (run !== undefined && from >= run.from && from < run.end) return run.end
    let end = from
    while (end < text.length && belongs(end)) end++
    steps += end - from + 1
    known.set(key, { from, end })
    return end
  }
  return {
    text,
    endOf: (kind, from) =>
      measure(kind, from, (index) => member[kind][text.charCodeAt(index)] === 1),
    endOfPem: (from) =>
      measure('pem', from, (index) => {
        const unit = text.charCodeAt(index)
        if (unit === DASH) return text.charCodeAt(index + 1) !== DASH
        return member.base64[unit] === 1 || PEM_EXTRA.includes(text.charAt(index))
      }),
    steps: () => steps,
  }
}

const DASH = 0x2d
/** White space, its escapes, and the punctuation of the header lines of encrypted keys. */
const PEM_EXTRA = ' \n\r\t\\:,'

/** Does a letter or digit stand before `start`? Then a prefix that begins there is the middle of a word. */
export function continuesWord(text: string, start: number): boolean {
  return start > 0 && member.alphanumeric[text.charCodeAt(start - 1)] === 1
}
