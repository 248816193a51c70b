import { Buffer } from 'node:buffer'
import { get_encoding } from '@dqbd/tiktoken'
import type { EncodingName } from './encodings.js'
import { splitPieces, windowEnd, withoutHalfPair } from './pretokenize.js'

/** What counting needs of a tokenizer. Text that spells a special token is text. */
export interface Encoder {
  encode_ordinary(text: string): { readonly length: number }
  free(): void
}

export interface TokenCount {
  /** At most the UTF-8 bytes of the texts: every token covers a byte. */
  readonly tokens: number
  /** False when the time bound was reached, and bytes were counted from there on: an upper bound. */
  readonly exact: boolean
}

/** When to stop encoding; both in milliseconds of the same monotonic clock. */
export interface CountBound {
  nowMs(): number
  readonly deadlineMs: number
}

/** A count under way. */
export interface Counting {
  /** Goes on until all is counted, or until the bound; true when all is counted. */
  run(bound?: CountBound): boolean
  /** The tokens so far, and the bytes of what is left: an upper bound, exact once `run` was true. */
  atMost(): number
}

export interface TokenCounter {
  /** Loads what is not loaded yet: up to 0.3 s and about 30 MB for each, so at start and at reload only. */
  load(names: Iterable<EncodingName>): void
  /**
   * The tokens of all texts together, each encoded by itself. The clock is read between windows of 2,048
   * characters; a window takes some 4 ms at worst.
   *
   * @throws Error the encoding was not loaded
   */
  count(encoding: EncodingName, texts: readonly string[], bound?: CountBound): TokenCount
  /**
   * The same in pieces, for a thread that has other things to do between them.
   *
   * @throws Error the encoding was not loaded
   */
  start(encoding: EncodingName, texts: readonly string[]): Counting
  /** Gives the memory outside the JavaScript heap back; counting afterwards is an error. */
  free(): void
}

const windowChars = 2048

/**
 * Byte pair encoding is quadratic in a piece that the splitter leaves whole: 40,000 `a` took 2 s, at 256
 * bytes it is 0.5 µs per byte, twice as much as ordinary text. Longer pieces are cut, which merges nothing
 * across the cut and so adds a few tokens for each.
 */
const maxPieceBytes = 256
/** No character of a string takes more than 3 bytes of UTF-8 per UTF-16 unit. */
const maxPieceChars = Math.floor(maxPieceBytes / 3)

/** Pieces remembered with their count; two generations of it are held, about 5 MB in all. */
const cacheEntries = 32_768
const cachedChars = 24
/**
 * A call into the tokenizer costs some 3 µs whatever it encodes, so 128 of them cost what encoding a whole
 * window does. A window with more unknown pieces is encoded whole, and some of its pieces are learnt, so that
 * the next one of its kind has fewer.
 */
const mostUnknown = 128
const learntOfMany = 32

interface Loaded {
  readonly encoder: Encoder
  readonly cache: PieceCache
}

/**
 * Counts tokens with the vocabulary that the policy names for a model.
 *
 * The text is split here and not by the tokenizer, because most pieces are words that were counted before:
 * remembered counts make ordinary text some ten times as fast as encoding it.
 *
 * @param openEncoder gives the tokenizer of an encoding; another one only in tests
 */
export function createTokenCounter(
  openEncoder: (name: EncodingName) => Encoder = (name) => get_encoding(name),
): TokenCounter {
  const loaded = new Map<EncodingName, Loaded>()

  return {
    load(names) {
      for (const name of names) {
        if (loaded.has(name)) continue
        loaded.set(name, { encoder: openEncoder(name), cache: createPieceCache() })
      }
    },

    count(encoding, texts, bound) {
      const counting = startCount(loaded, encoding, texts)
      const exact = counting.run(bound)
      return { tokens: counting.atMost(), exact }
    },

    start: (encoding, texts) => startCount(loaded, encoding, texts),

    free() {
      for (const { encoder } of loaded.values()) encoder.free()
      loaded.clear()
    },
  }
}

function startCount(
  loaded: ReadonlyMap<EncodingName, Loaded>,
  encoding: EncodingName,
  texts: readonly string[],
): Counting {
  const tokenizer = loaded.get(encoding)
  if (tokenizer === undefined) throw new Error(`the encoding ${encoding} is not loaded`)
  let tokens = 0
  /** Index of the text under way, and where its next window begins. */
  let current = 0
  let at = 0

  return {
    run(bound) {
      for (; current < texts.length; current += 1, at = 0) {
        const text = texts[current] ?? ''
        while (at < text.length) {
          if (bound !== undefined && bound.nowMs() >= bound.deadlineMs) return false
          const end = windowEnd(text, at, windowChars)
          tokens += countWindow(tokenizer, encoding, text.slice(at, end))
          at = end
        }
      }
      return true
    },
    atMost() {
      const rest = texts.slice(current)
      return rest.reduce(
        (sum, text, index) => sum + Buffer.byteLength(index === 0 ? text.slice(at) : text),
        tokens,
      )
    },
  }
}

function countWindow({ encoder, cache }: Loaded, encoding: EncodingName, text: string): number {
  let tokens = 0
  let unknown: string[] = []
  // Sum of the known pieces since `from`, which is where the tokenizer would have to begin again.
  let known = 0
  let from = 0
  let at = 0

  function flush(): void {
    if (unknown.length > mostUnknown) {
      tokens += encoder.encode_ordinary(text.slice(from, at)).length
      for (const piece of unknown.slice(0, learntOfMany)) learn(piece)
    } else {
      tokens += known
      for (const piece of unknown) tokens += learn(piece)
    }
    unknown = []
    known = 0
  }

  function learn(piece: string): number {
    const count = encoder.encode_ordinary(piece).length
    if (piece.length <= cachedChars) cache.remember(piece, count)
    return count
  }

  for (const piece of splitPieces(encoding, text)) {
    if (piece.length > maxPieceChars) {
      flush()
      tokens += countLongPiece(encoder, piece)
      at += piece.length
      from = at
      continue
    }
    const count = cache.recall(piece)
    if (count === undefined) unknown.push(piece)
    else known += count
    at += piece.length
  }
  flush()
  return tokens
}

function countLongPiece(encoder: Encoder, piece: string): number {
  const ascii = Buffer.byteLength(piece) === piece.length
  const stepChars = ascii ? maxPieceBytes : maxPieceChars
  let tokens = 0
  for (let at = 0; at < piece.length;) {
    const end = withoutHalfPair(piece, Math.min(at + stepChars, piece.length))
    tokens += encoder.encode_ordinary(piece.slice(at, end)).length
    at = end
  }
  return tokens
}

interface PieceCache {
  recall(piece: string): number | undefined
  remember(piece: string, count: number): void
}

/** Two generations: when the young one is full it becomes the old one, and what is not recalled from it goes. */
function createPieceCache(): PieceCache {
  let young = new Map<string, number>()
  let old = new Map<string, number>()

  function remember(piece: string, count: number): void {
    if (young.size >= cacheEntries) {
      old = young
      young = new Map()
    }
    // A slice of 13 characters or more keeps its whole text alive; through bytes it becomes a string of its own.
    young.set(Buffer.from(piece).toString(), count)
  }

  return {
    recall(piece) {
      const count = young.get(piece)
      if (count !== undefined) return count
      const before = old.get(piece)
      if (before !== undefined) remember(piece, before)
      return before
    },
    remember,
  }
}
