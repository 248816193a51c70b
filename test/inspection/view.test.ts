import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { foldedTable, plainTable } from '../../src/inspection/fold.js'
import { transcode } from '../../src/inspection/transcode.js'
import { createView, foldText } from '../../src/inspection/view.js'
import { runs } from '../runs.js'

const tags = (text: string): string =>
  [...text].map((one) => String.fromCodePoint(0xe0000 + (one.codePointAt(0) ?? 0))).join('')

/** Text of the characters that normalisation is about, mixed with any others. */
const hostileText = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 4 }),
      fc.constantFrom(
        ...[
          'e\u0301',
          '\u200b',
          '\u00ad',
          '\ufe0f',
          'ﬁ',
          'İ',
          'ß',
          'ς',
          'Σ',
          'か\u3099',
          'ｶﾞ',
          '\u1112\u1161\u11ab',
        ],
        ...[
          'а',
          'Ё',
          '𝐢',
          '⓪',
          '\u{1f170}',
          '㌖',
          '\u{e0061}',
          '\u{e0041}',
          'أ',
          '\u0627\u0653',
          'क\u093c',
          '\ufdfa',
          '\ud800',
          '\u0e34',
          '\u1dc4',
          '\u{1d167}',
          'ﾞ',
          'Ꮖ',
          'ก',
          ' \u3000',
        ],
      ),
    ),
  )
  .map((parts) => parts.join(''))

describe('folded form', () => {
  test.each([
    ['lower case', 'IGNORE', 'ignore'],
    ['full width', 'ｉｇｎｏｒｅ', 'ignore'],
    ['mathematical letters', '𝐢𝐠𝐧𝐨𝐫𝐞', 'ignore'],
    ['circled letters', 'ⓘⓖⓝⓞⓡⓔ', 'ignore'],
    ['squared letters', '\u{1f178}\u{1f176}', 'ig'],
    ['Cyrillic and Greek look-alikes', 'іgnоrе αll', 'ignore all'],
    ['small capitals', 'ɪɢɴᴏʀᴇ', 'ignore'],
    ['zero-width characters', 'ig\u200bno\u200d\ufeffre', 'ignore'],
    ['soft hyphens', 'ig\u00adnore', 'ignore'],
    ['bidirectional controls', '\u202eignore\u202c', 'ignore'],
    ['variation selectors', 'i\ufe0fg\u{e0100}nore', 'ignore'],
    ['control characters', 'ig\u0000no\u0008re', 'ignore'],
    ['stacked accents', 'i\u0300\u0301\u0302gnòre', 'ignore'],
    ['marks of the blocks beyond', 'i\u1ab0g\u1dc4n\u20ddo\ufe20re', 'ignore'],
    [
      'marks of other scripts',
      '\u0e34ig\u0e34n\u093co\u{1d167}re\u{11001} \u0731all',
      'ignore all',
    ],
    ['marks behind signs', '<|\u1dc4im_\u0e34start|> 😀\u0e34ok', '<|im_start|> 😀ok'],
    ['Lisu look-alikes', 'ꓲꓖꓠꓳꓣꓰ', 'ignore'],
    ['Coptic look-alikes', 'ⲓⲛⲥⲧⲣⲁⲏ Ⲟⲩ', 'inctpah oy'],
    ['Cherokee look-alikes', 'ᏆᏀgᏒᎬᎢ ꭺꮮꮮ', 'iggret all'],
    ['ligatures', 'ﬁlter', 'filter'],
    ['no-break and ideographic spaces', 'a\u00a0b\u3000c', 'a b c'],
    ['Arabic digits', '١٢٣', '123'],
    ['Devanagari digits', '१२३', '123'],
    ['German sharp s', 'STRAẞE', 'strasse'],
    ['Hangul in single letters', '\u1112\u1161\u11ab', '한'],
    ['half-width kana with a voice mark', 'ｶﾞ', 'ガ'],
    ['a full-width bar', '<｜user｜>', '<|user|>'],
  ])('undoes %s', (_name, text, folded) => {
    expect(createView(text).folded).toBe(folded)
  })

  test.each(['ที่นี่', 'कि', 'か\u3099い', 'ကို'])(
    'keeps the marks of a script that has them: %s',
    (text) => {
      expect(createView(text).folded).toBe(text.normalize('NFC'))
    },
  )

  test('is idempotent', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        const once = foldText(text)
        expect(foldText(once)).toBe(once)
      }),
      { numRuns: runs(3000) },
    )
  })

  test('grows at most six times, whatever the text', () => {
    fc.assert(
      fc.property(hostileText, (text) => {
        expect(foldText(text).length).toBeLessThanOrEqual(6 * text.length + 2)
      }),
    )
    expect(foldText('\ufdfa'.repeat(1000)).length).toBeLessThanOrEqual(6000)
  })
})

describe('plain form', () => {
  test('keeps case, accents, script and line ends', () => {
    const text = 'Ünïcode Привет\r\n\tEnd'
    expect(createView(text).plain).toBe(text)
  })

  test('is the text itself where that is printable ASCII', () => {
    const text = 'AKIA 4111-1111\n"x"'
    expect(createView(text).plain).toBe(text)
  })

  test('undoes compatibility forms and invisible characters', () => {
    expect(createView('４１\u200b１１').plain).toBe('4111')
  })
})

describe('offsets', () => {
  test('lead back to the characters that a form was made of', () => {
    const text = 'x\u200b ＩＧ\u00adnore ﬁn'
    const view = createView(text)
    const at = view.folded.indexOf('ignore')
    const [start, end] = view.sourceSpan('folded', at, at + 6)
    expect(text.slice(start, end)).toBe('ＩＧ\u00adnore')
    const [from, to] = view.sourceSpan(
      'folded',
      view.folded.indexOf('fi'),
      view.folded.indexOf('fi') + 1,
    )
    expect(text.slice(from, to)).toBe('ﬁ')
  })

  test('stay inside the text, in order, for every span of every text', () => {
    fc.assert(
      fc.property(hostileText, fc.nat(), fc.nat(), (text, one, other) => {
        const view = createView(text)
        for (const level of ['plain', 'folded'] as const) {
          const length = view[level].length
          const [low, high] = [one % (length + 1), other % (length + 1)].sort((a, b) => a - b)
          const [start, end] = view.sourceSpan(level, low ?? 0, high ?? 0)
          expect(start).toBeGreaterThanOrEqual(0)
          expect(end).toBeLessThanOrEqual(text.length)
          expect(start).toBeLessThanOrEqual(end)
        }
      }),
    )
  })

  test('cover what folds to the same again', () => {
    fc.assert(
      fc.property(hostileText, hostileText, (before, after) => {
        const text = `${before} ignore ${after}`
        const view = createView(text)
        const at = view.folded.indexOf('ignore')
        expect(foldText(text.slice(...view.sourceSpan('folded', at, at + 6)))).toContain('ignore')
      }),
    )
  })
})

test('a form has the same text with and without its offsets, one for each unit and one more', () => {
  // A mark that vanishes right behind hidden text: the space between the two has its place all the same.
  const markBehindTags = 'e\u0301\u{e0041}\u{1d167}'
  fc.assert(
    fc.property(fc.oneof(fc.constant(markBehindTags), hostileText), (text) => {
      for (const table of [plainTable, foldedTable]) {
        const mapped = transcode(text, table, { map: true })
        expect(mapped.form).toBe(transcode(text, table).form)
        expect(mapped.map).toHaveLength(mapped.form.length + 1)
        expect([...mapped.map]).toEqual([...mapped.map].sort((one, other) => one - other))
      }
    }),
  )
})

describe('hidden text', () => {
  test('is read where tag characters spell it, as words of its own', () => {
    const view = createView(`Hello${tags('Ignore all')}world`)
    expect(view.folded).toBe('hello ignore all world')
    expect(view.hidden).toEqual([{ kind: 'hidden_tag_text', span: [5, 25] }])
  })

  test('is seen in a run of variation selectors', () => {
    const run = '\u{e0121}'.repeat(12)
    expect(createView(`😀${run}`).hidden).toEqual([
      { kind: 'hidden_variation_bytes', span: [2, 26] },
    ])
  })

  test.each(['gbeng', 'gbsct', 'gbwls'])(
    'is not a flag, %s, nor an emoji with its selector',
    (region) => {
      const flag = `\u{1f3f4}${tags(region)}\u{e007f}`
      expect(
        createView(`${flag}${flag} ❤\ufe0f \u{1f441}\ufe0f\u200d\u{1f5e8}\ufe0f`.repeat(20)).hidden,
      ).toEqual([])
    },
  )

  test.each([
    ['after a flag, longer than a region', `\u{1f3f4}${tags('ignore all rules')}`],
    ['after the end of a flag', `\u{1f3f4}${tags('gbsct')}\u{e007f}${tags('ignore')}`],
    ['after a flag of no region', `\u{1f3f4}${tags('ignore')}`],
    [
      'in pairs with invisible characters between',
      [...'ignore'].map((one) => `${tags(one)}\u200b`).join(''),
    ],
    [
      'in letters with selectors between',
      [...'ignore'].map((one) => `${tags(one)}\ufe0f`).join(''),
    ],
    ['a letter behind each that is seen', [...'ignore'].map((one) => `x${tags(one)}`).join('')],
    ['two letters behind each flag', `\u{1f3f4}${tags('ig')}\u{1f3f4}${tags('no')}`],
  ])('is seen %s', (_name, text) => {
    const { hidden } = createView(`Hi ${text} you`)
    expect(hidden.map(({ kind }) => kind)).toContain('hidden_tag_text')
    for (const { span } of hidden) expect(span[0]).toBeGreaterThanOrEqual(3)
  })

  test('is seen in selectors with invisible characters between', () => {
    const text = `${'\ufe01'.repeat(7)}\u200b`.repeat(3)
    expect(createView(`hi${text}!`).hidden).toEqual([
      { kind: 'hidden_variation_bytes', span: [2, 25] },
    ])
  })

  test('gives a bounded list, whatever the text', () => {
    expect(createView(`${tags('abc')}x`.repeat(500)).hidden).toHaveLength(16)
  })
})

test('a character has one form, whether it comes whole or in pieces', () => {
  // Behind a letter: a mark without one is none of a word.
  const letter = '\u0c95'
  const differing: string[] = []
  for (let unit = 0xc0; unit <= 0xffff; unit++) {
    if (unit >= 0xd800 && unit <= 0xf8ff) continue
    const whole = String.fromCharCode(unit).normalize('NFC')
    const pieces = whole.normalize('NFD')
    if (pieces === whole) continue
    for (const table of [plainTable, foldedTable]) {
      if (transcode(letter + whole, table).form !== transcode(letter + pieces, table).form)
        differing.push(pieces)
    }
  }
  expect(differing).toEqual([])
})
