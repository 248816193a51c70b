/**
 * What each character becomes in a view, as tables built once when this module is loaded.
 *
 * - `plain`: its own NFKC form; invisible and control characters vanish, every space is U+0020, every decimal
 *   digit is an ASCII digit. Case, accents and script stay.
 * - `folded`: `plain`, lower case, without accents, vowel points and stray marks, look-alikes of other scripts as
 *   Latin letters.
 *
 * NFKC is taken per code point; what composes with the character before it is composed by `view.ts`.
 */
export interface FoldTable {
  /** For each UTF-16 unit the one unit it becomes, or `DROP`, or `EXPAND`. Surrogates stand for themselves. */
  readonly units: Uint16Array
  /** For code points that become several units, and for those beyond the BMP that change at all. */
  readonly expansions: ReadonlyMap<number, string>
  /** Marks vanish, but for those behind a letter whose script writes with them. */
  readonly dropsMarks: boolean
}

export const DROP = 0
export const EXPAND = 0xffff

/**
 * Longest form that a character may become. Beyond it (U+FDFA, U+FDFB: whole sentences in one code point) it
 * stays as it is, so that a body grows at most six times.
 */
const MAX_EXPANSION_UNITS = 6

// Latin letter, then the characters that look like it, in either case and without accents: Greek, Cyrillic, Armenian,
// small capitals, Lisu, Coptic, Cherokee.
const LOOK_ALIKES: readonly string[] = [
  'aаαɑᴀꓮⲁᎪ',
  'bвьʙƅꓐⲃᏏᏴ',
  'cсϲᴄꓚⲥᏟ',
  'dԁᴅđɖꓓᎠᏧ',
  'eеεᴇєҽꓰⲉᎬ',
  'fꜰƒғꓝ',
  'gɡɢցǥꓖᏀᏳ',
  'hнһհʜħꓧⲏᎻᏂ',
  'iіιıɪꓲⲓᎥᏆ',
  'jјϳᴊꓙᎫ',
  'kкκᴋꓗⲕᏦ',
  'lӏʟłɩꓡᏞ',
  'mмᴍꓟⲙᎷ',
  'nηɴոƞꓠⲛ',
  'oоοᴏօøσꓳⲟᎾ',
  'pрρᴘꓑⲣᏢ',
  'qԛզ',
  'rʀгᴦꓣⲅᎡᏒ',
  'sѕꜱꓢᏕᏚ',
  'tтτᴛŧꓔⲧᎢ',
  'uυᴜսꓴ',
  'vνᴠѵꓦᏙ',
  'wԝωᴡѡꓪⲱᎳᏔ',
  'xхχꓫⲭ',
  'yуγʏꓬⲩᎩᎽ',
  'zᴢꓜⲍᏃ',
  // Not look-alikes but spellings of one letter: final sigma, alef with and without hamza, yeh, teh marbuta, kaf.
  'oς',
  'اأإآٱ',
  'يىی',
  'هة',
  'كک',
  '_▁',
  '|ǀ❘∣│',
  "'’‘ʼ＇`´",
  '"“”„',
  '-‐‑‒–—―−',
]

const ACCENTS =
  /[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0655\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]/gu
const MARK = /^[\p{Mn}\p{Me}]$/u
const INVISIBLE = /^[\p{Cf}\p{Cc}\p{Default_Ignorable_Code_Point}]$/u
const SPACE = /^[\p{Z}\u2800]$/u
const DECIMAL = /^\p{Nd}$/u
/** Beyond it there are variation selectors alone. */
const LAST_ASTRAL_MARK = 0x1f000
const WORD = /^[\p{L}\p{N}\p{M}]$/u

const NO_WORD = 0
const LETTER_OF_WORD = 1
const MARK_OF_WORD = 2

/** Han, Hangul syllables and private use stand for themselves in every table; skipping them halves the start-up. */
function isSelf(codePoint: number): boolean {
  return (
    (codePoint >= 0x3400 && codePoint <= 0xa4cf) ||
    (codePoint >= 0xac00 && codePoint <= 0xd7a3) ||
    (codePoint >= 0xd800 && codePoint <= 0xf8ff)
  )
}

const lookAlike = new Map<string, string>()
for (const group of LOOK_ALIKES) {
  const [latin = '', ...others] = group
  for (const other of others) lookAlike.set(other.toLowerCase(), latin)
}

/** Characters in squares and black circles have no compatibility form, but read as letters. */
function enclosedLetter(codePoint: number): string | undefined {
  for (const first of [0x1f150, 0x1f170]) {
    if (codePoint >= first && codePoint < first + 26) {
      return String.fromCharCode(0x41 + codePoint - first)
    }
  }
  return undefined
}

function toPlain(codePoint: number, digitZero: number): string {
  const character = String.fromCodePoint(codePoint)
  if (character === '\n' || character === '\t' || character === '\r') return character
  // U+0085 and U+2028 end lines; VT and FF are white space for every reader.
  if (character === '\v' || character === '\f' || codePoint === 0x85) return '\n'
  if (codePoint === 0x2028 || codePoint === 0x2029) return '\n'
  if (INVISIBLE.test(character)) return ''
  if (SPACE.test(character)) return ' '
  if (digitZero >= 0) return String.fromCharCode(0x30 + ((codePoint - digitZero) % 10))
  const compatible = enclosedLetter(codePoint) ?? character.normalize('NFKC')
  // Spacing accents (U+00A8 and the like) decompose into a space and a mark: they would split words.
  if (compatible.startsWith(' ')) return character
  return compatible.length > MAX_EXPANSION_UNITS ? character : compatible
}

function toFolded(plain: string): string {
  let form = plain
  // To the fixed point, so that folding a folded text changes nothing. Two rounds are the most it takes.
  for (let round = 0; round < 4; round++) {
    const bare = form.toLowerCase().normalize('NFD').replace(ACCENTS, '').normalize('NFKC')
    let next = ''
    for (const character of bare) {
      next += character === 'ß' ? 'ss' : (lookAlike.get(character) ?? character)
    }
    if (next === form) break
    form = next
  }
  return form.length > MAX_EXPANSION_UNITS ? plain : form
}

interface TableDraft extends FoldTable {
  readonly expansions: Map<number, string>
}

function startTable(dropsMarks: boolean): TableDraft {
  return { units: new Uint16Array(0x10000), expansions: new Map(), dropsMarks }
}

function buildTables(): { plain: FoldTable; folded: FoldTable; wordKinds: Uint8Array } {
  const plain = startTable(false)
  const folded = startTable(true)
  const wordKinds = new Uint8Array(0x10000)
  const put = (table: TableDraft, codePoint: number, form: string): void => {
    if (codePoint > 0xffff) {
      if (form !== String.fromCodePoint(codePoint)) table.expansions.set(codePoint, form)
    } else if (form.length === 1) {
      table.units[codePoint] = form.charCodeAt(0)
    } else if (form === '') {
      table.units[codePoint] = DROP
    } else {
      table.units[codePoint] = EXPAND
      table.expansions.set(codePoint, form)
    }
  }
  let digitZero = -1
  const add = (codePoint: number): void => {
    const isDecimal = DECIMAL.test(String.fromCodePoint(codePoint))
    // Unicode keeps each script's digits in runs of ten that begin with zero.
    if (!isDecimal) digitZero = -1
    else if (digitZero < 0) digitZero = codePoint
    const form = toPlain(codePoint, digitZero)
    put(plain, codePoint, form)
    put(folded, codePoint, toFolded(form))
  }
  for (let unit = 0; unit <= 0xffff; unit++) {
    if (isSelf(unit)) {
      plain.units[unit] = unit
      folded.units[unit] = unit
      wordKinds[unit] = unit >= 0xd800 ? NO_WORD : LETTER_OF_WORD
      continue
    }
    add(unit)
    const character = String.fromCharCode(unit)
    if (WORD.test(character)) wordKinds[unit] = MARK.test(character) ? MARK_OF_WORD : LETTER_OF_WORD
  }
  // Beyond the BMP only these blocks have compatibility forms, digits or invisible characters.
  for (const [first, last] of [
    [0x104a0, 0x104a9],
    [0x1d400, 0x1d7ff],
    [0x1ee00, 0x1eeff],
    [0x1f100, 0x1f18f],
    [0x1fbf0, 0x1fbf9],
    [0x2f800, 0x2fa1f],
    [0xe0000, 0xe0fff],
  ] as const) {
    digitZero = -1
    for (let codePoint = first; codePoint <= last; codePoint++) add(codePoint)
  }
  // U+FFFF is the mark for "several units"; as a noncharacter it vanishes.
  plain.units[0xffff] = DROP
  folded.units[0xffff] = DROP
  return { plain, folded, wordKinds }
}

const tables = buildTables()

export const plainTable: FoldTable = tables.plain
export const foldedTable: FoldTable = tables.folded

/** Does the character vanish in every form? */
export function isInvisible(codePoint: number): boolean {
  if (codePoint <= 0xffff) return tables.plain.units[codePoint] === DROP
  return tables.plain.expansions.get(codePoint) === ''
}

/** Is the UTF-16 unit a letter, digit or mark? A surrogate is not. */
export function isWordUnit(unit: number): boolean {
  return tables.wordKinds[unit] !== NO_WORD
}

/** Does the character stand over, under or around the one before it? */
export function isMark(codePoint: number): boolean {
  if (codePoint <= 0xffff) return tables.wordKinds[codePoint] === MARK_OF_WORD
  return codePoint < LAST_ASTRAL_MARK && MARK.test(String.fromCodePoint(codePoint))
}
