import { get_encoding } from '@dqbd/tiktoken'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { splitPieces, windowEnd } from '../../src/llm/pretokenize.js'
import { encodingNames } from '../../src/llm/encodings.js'
import { createTokenCounter } from '../../src/llm/tokens.js'
import type { Encoder, TokenCounter } from '../../src/llm/tokens.js'
import { MIB_BYTES } from '../../src/units.js'
import { runs } from '../runs.js'

const byteLength = (text: string): number => Buffer.byteLength(text)

/** Real text of many kinds, every piece of it short enough not to be cut. */
const samples: Readonly<Record<string, string>> = {
  english: "We'll see: the quick brown fox doesn't jump over 12345 lazy dogs, DOES IT?\n".repeat(
    60,
  ),
  code: 'export function area(width: number) {\n\treturn width ** 2 // m²\n}\n\n'.repeat(60),
  json: '{"id": 17, "names": ["a_b", "c-d"], "ok": true, "note": null}\r\n'.repeat(60),
  chinese: '今天天气很好，我们去公园散步吧。他说：“这是一个很好的主意！”\n'.repeat(40),
  mixed: 'Straße naïve Ελλάδα Москва नमस्ते สวัสดี 한국어 مرحبا שלום 👩‍👩‍👧 e\u0301\u0300 ½ ٣ ſ’s\n'.repeat(
    40,
  ),
  spaces: 'a  b   c\t\td \n \n\n   e \u3000 f \u0085 g \ufeff h //\n//\n'.repeat(60),
}

describe.each(encodingNames)('counting with %s', (name) => {
  let reference: Encoder & { encode_ordinary(text: string): Uint32Array }
  let counter: TokenCounter

  beforeAll(() => {
    reference = get_encoding(name)
    counter = createTokenCounter()
    counter.load([name])
  })
  afterAll(() => {
    reference.free()
    counter.free()
  })

  const counted = (...texts: readonly string[]): number => counter.count(name, texts).tokens

  test.each(Object.entries(samples))('agrees with the tokenizer on %s', (_, text) => {
    expect(counter.count(name, [text])).toEqual({
      tokens: reference.encode_ordinary(text).length,
      exact: true,
    })
    // The second time every piece is remembered.
    expect(counted(text)).toBe(reference.encode_ordinary(text).length)
  })

  test('agrees with the tokenizer on any text without a long piece', () => {
    const words = fc.array(fc.string({ unit: 'grapheme', maxLength: 12 }), { maxLength: 60 })
    const separator = fc.constantFrom(' ', '\n', '  ', '', '. ', "'s ", ' / ')
    fc.assert(
      fc.property(words, separator, (list, between) => {
        const text = Buffer.from(list.join(between)).toString()
        fc.pre(splitPieces(name, text).every((piece) => piece.length <= 85))
        expect(counted(text)).toBe(reference.encode_ordinary(text).length)
      }),
      { numRuns: runs(400) },
    )
  })

  test('agrees with the tokenizer on texts of many windows', () => {
    const word = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 14 })
    fc.assert(
      fc.property(fc.array(word, { minLength: 600, maxLength: 900 }), (list) => {
        const text = list.join(' ')
        expect(counted(text)).toBe(reference.encode_ordinary(text).length)
      }),
      { numRuns: runs(25) },
    )
  })

  test('what spells a special token is text', () => {
    expect(counted('<|endoftext|>')).toBeGreaterThan(1)
  })

  test('texts are counted each by itself', () => {
    expect(counted('hel', 'lo')).toBe(counted('hel') + counted('lo'))
    expect(counted()).toBe(0)
    expect(counted('', '')).toBe(0)
  })

  test('no text has more tokens than bytes, however it is cut', () => {
    const anything = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 300 }),
      fc
        .tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 3 }), fc.nat(1500))
        .map(([text, times]) => text.repeat(times)),
    )
    fc.assert(
      fc.property(anything, (text) => {
        expect(counted(text)).toBeLessThanOrEqual(byteLength(text))
      }),
      { numRuns: runs(120) },
    )
  })

  test.each([
    ['letters', 'abcdefghijklmnopqrstuvwxyz'.repeat(100)],
    ['spaces', ' '.repeat(3000)],
    ['equals signs', '='.repeat(3000)],
    ['Chinese without punctuation', '今天天气很好我们去公园散步吧'.repeat(100)],
  ])('cutting a run of %s adds at most four tokens for each cut', (_, text) => {
    const exact = reference.encode_ordinary(text).length
    const cuts = Math.ceil(byteLength(text) / 255) + Math.ceil(text.length / 2048)
    expect(counted(text)).toBeGreaterThanOrEqual(exact)
    expect(counted(text)).toBeLessThanOrEqual(exact + 4 * cuts)
  })
})

/** An encoder that says a token for each byte, and what was asked of it. */
function countingEncoder() {
  const asked = { calls: 0, bytes: 0, work: 0, longestPieceBytes: 0 }
  const encoder: Encoder = {
    encode_ordinary(text) {
      asked.calls += 1
      asked.bytes += byteLength(text)
      for (const piece of splitPieces('o200k_base', text)) {
        const bytes = byteLength(piece)
        asked.longestPieceBytes = Math.max(asked.longestPieceBytes, bytes)
        // Byte pair encoding of one piece is quadratic.
        asked.work += bytes * bytes
      }
      return { length: byteLength(text) }
    },
    free() {
      asked.calls = -1
    },
  }
  const counter = createTokenCounter(() => encoder)
  counter.load(['o200k_base'])
  return { asked, counter }
}

/** The same letters on every run. */
function letters(count: number): string {
  let state = 1
  const codes = new Uint8Array(count)
  for (let index = 0; index < count; index += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    codes[index] = 97 + ((state >>> 16) % 26)
  }
  return Buffer.from(codes).toString('latin1')
}

describe('the work', () => {
  test.each([
    ['a', (bytes: number) => 'a'.repeat(bytes)],
    ['spaces', (bytes: number) => ' '.repeat(bytes)],
    ['=', (bytes: number) => '='.repeat(bytes)],
    ['CJK', (bytes: number) => '中'.repeat(Math.floor(bytes / 3))],
    ['random letters', letters],
  ])('doubles with the length of %s up to 8 MiB', (_, make) => {
    const works = [1, 2, 4, 8].map((mib) => {
      const { asked, counter } = countingEncoder()
      const text = make(mib * MIB_BYTES)
      expect(counter.count('o200k_base', [text]).exact).toBe(true)
      expect(asked.longestPieceBytes).toBeLessThanOrEqual(256)
      expect(asked.bytes).toBeLessThanOrEqual(byteLength(text) * 1.1)
      return asked.work
    })
    const [first = 0, ...doubled] = works
    expect(first).toBeGreaterThan(0)
    for (const [index, work] of doubled.entries()) {
      expect(work / (first * 2 ** (index + 1))).toBeCloseTo(1, 1)
    }
  })

  test('no piece over 256 bytes reaches the encoder, whatever the text', () => {
    const run = fc
      .tuple(fc.string({ unit: 'binary', minLength: 1, maxLength: 2 }), fc.nat(900))
      .map(([text, times]) => text.repeat(times))
    fc.assert(
      fc.property(fc.array(run, { maxLength: 8 }), (runs) => {
        const { asked, counter } = countingEncoder()
        const text = runs.join('')
        const { tokens } = counter.count('o200k_base', [text])
        expect(tokens).toBe(byteLength(text))
        expect(asked.longestPieceBytes).toBeLessThanOrEqual(256)
      }),
      { numRuns: runs(100) },
    )
  })

  test('a known text asks nothing of the encoder', () => {
    const { asked, counter } = countingEncoder()
    counter.count('o200k_base', [samples['english'] ?? ''])
    const { calls } = asked
    expect(calls).toBeGreaterThan(0)
    counter.count('o200k_base', [samples['english'] ?? ''])
    expect(asked.calls).toBe(calls)
  })

  test('a piece that was not met for long is forgotten', () => {
    const { asked, counter } = countingEncoder()
    const callsFor = (text: string): number => {
      const before = asked.calls
      counter.count('o200k_base', [text])
      return asked.calls - before
    }
    expect(callsFor('word')).toBe(1)
    expect(callsFor('word')).toBe(0)
    const others = letters(3 * 32_768 * 8).match(/.{8}/g) ?? []
    for (let index = 0; index < others.length; index += 100) {
      counter.count('o200k_base', [others.slice(index, index + 100).join('\n')])
    }
    expect(callsFor('word')).toBe(1)
  })
})

describe('the time bound', () => {
  const text = 'some words to count '.repeat(1000)

  test('counts bytes from where it was reached, and says so', () => {
    const { counter } = countingEncoder()
    let nowMs = 0
    const bound = { nowMs: () => nowMs++, deadlineMs: 3 }
    const { asked, counter: second } = countingEncoder()
    const answer = second.count('o200k_base', [text, 'and more'], bound)
    expect(answer).toEqual({ tokens: byteLength(text) + 8, exact: false })
    expect(asked.bytes).toBeGreaterThan(0)
    expect(asked.bytes).toBeLessThanOrEqual(3 * 2048)
    expect(counter.count('o200k_base', [text]).exact).toBe(true)
  })

  test('is an upper bound of the exact count, wherever it is reached', () => {
    const counter = createTokenCounter()
    counter.load(['o200k_base'])
    const exact = counter.count('o200k_base', [text]).tokens
    let earlier = Number.POSITIVE_INFINITY
    for (let windows = 0; windows < 12; windows += 1) {
      let nowMs = 0
      const bound = { nowMs: () => nowMs++, deadlineMs: windows }
      const { tokens } = counter.count('o200k_base', [text], bound)
      expect(tokens).toBeGreaterThanOrEqual(exact)
      expect(tokens).toBeLessThanOrEqual(earlier)
      earlier = tokens
    }
    expect(earlier).toBe(exact)
    counter.free()
  })

  test('that is over already costs nothing and counts bytes', () => {
    const { asked, counter } = countingEncoder()
    const bound = { nowMs: () => 5, deadlineMs: 5 }
    expect(counter.count('o200k_base', ['äöü', 'x'], bound)).toEqual({ tokens: 7, exact: false })
    expect(asked.calls).toBe(0)
  })
})

describe('what is loaded', () => {
  test('an encoding that is not is an error', () => {
    expect(() => createTokenCounter().count('cl100k_base', ['x'])).toThrow(
      'the encoding cl100k_base is not loaded',
    )
  })

  test('is opened once and freed', () => {
    const opened: string[] = []
    let freed = 0
    const counter = createTokenCounter((name) => {
      opened.push(name)
      return {
        encode_ordinary: (text) => ({ length: text.length }),
        free: () => {
          freed += 1
        },
      }
    })
    counter.load(['o200k_base'])
    counter.load(['o200k_base', 'cl100k_base'])
    expect(opened).toEqual(['o200k_base', 'cl100k_base'])
    counter.free()
    expect(freed).toBe(2)
    expect(() => counter.count('o200k_base', ['x'])).toThrow('not loaded')
  })
})

describe('the windows of a text', () => {
  test('end before a space, and together are the text', () => {
    const text = 'word another  third\u3000 x '.repeat(500)
    let at = 0
    while (at < text.length) {
      const end = windowEnd(text, at, 100)
      expect(end).toBeGreaterThan(at)
      expect(end).toBeLessThanOrEqual(Math.min(text.length, at + 100))
      if (end < text.length) expect(text.slice(end - 1, end + 1)).toMatch(/^\S $/u)
      at = end
    }
  })

  test('do not part a surrogate pair', () => {
    const text = `x${'😀'.repeat(200)}`
    expect(windowEnd(text, 0, 100)).toBe(99)
  })

  test.each(encodingNames)('split into the pieces of the whole text with %s', (name) => {
    for (const text of Object.values(samples)) {
      const pieces: string[] = []
      for (let at = 0; at < text.length;) {
        const end = windowEnd(text, at, 128)
        pieces.push(...splitPieces(name, text.slice(at, end)))
        at = end
      }
      expect(pieces.join('')).toBe(text)
    }
  })
})
