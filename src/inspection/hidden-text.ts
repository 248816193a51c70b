import { isInvisible } from './fold.js'

/** Text that no reader sees but a model may: where, in offsets of the segment's own text. */
export interface HiddenRun {
  readonly kind: 'hidden_tag_text' | 'hidden_variation_bytes'
  readonly span: readonly [start: number, end: number]
}

/** More runs than these tell nothing more, and a body full of them must not become a list of millions. */
export const MAX_HIDDEN_RUNS = 16
/** Tag letters have no use but in flags: a few outside them, however far apart, are a message. */
const MIN_TAG_LETTERS = 3
/** England, Scotland, Wales: the flags that consist of U+1F3F4 and tag letters, and that readers show. */
const flagRegions: ReadonlySet<string> = new Set(['gbeng', 'gbsct', 'gbwls'])
const BLACK_FLAG = 0x1f3f4
/** One selector may follow a character; a run of them only occurs where each encodes a byte. */
const MIN_VARIATION_RUN = 8

/** Tag characters stand for the printable characters of ASCII, U+E0020 for the space. */
export function isTag(codePoint: number): boolean {
  return codePoint >= 0xe0020 && codePoint <= 0xe007e
}

function isVariationSelector(codePoint: number): boolean {
  return (
    (codePoint >= 0xfe00 && codePoint <= 0xfe0f) || (codePoint >= 0xe0100 && codePoint <= 0xe01ef)
  )
}

/**
 * A run goes on over other invisible characters. Letters of runs that are too short to tell are added up; selectors
 * are not, since each may belong to the character before it.
 *
 * @returns the first `MAX_HIDDEN_RUNS` runs, in order
 */
export function findHidden(text: string): readonly HiddenRun[] {
  const runs: HiddenRun[] = []
  let letters = 0
  let lettersStart = 0
  let selectors = 0
  let start = -1
  let end = 0
  let spelt = ''
  let afterFlag = false
  let previous = 0
  const close = (): void => {
    if (spelt !== '' && !(afterFlag && flagRegions.has(spelt))) {
      if (letters === 0) lettersStart = start
      letters += spelt.length
    }
    if (letters >= MIN_TAG_LETTERS) {
      runs.push({ kind: 'hidden_tag_text', span: [lettersStart, end] })
      letters = 0
    } else if (selectors >= MIN_VARIATION_RUN) {
      runs.push({ kind: 'hidden_variation_bytes', span: [start, end] })
    }
    start = -1
    spelt = ''
    selectors = 0
  }
  for (let index = 0; index < text.length && runs.length < MAX_HIDDEN_RUNS; index++) {
    const unit = text.charCodeAt(index)
    if (unit < 0xd800 && start === -1) {
      previous = unit
      continue
    }
    const codePoint = text.codePointAt(index) ?? unit
    const units = codePoint > 0xffff ? 2 : 1
    const tag = isTag(codePoint)
    if (tag || isVariationSelector(codePoint)) {
      if (start === -1) {
        start = index
        afterFlag = previous === BLACK_FLAG
      }
      end = index + units
      if (!tag) selectors++
      // What is longer than a region need not be spelt out to the end.
      else if (spelt.length < MAX_SPELT_LETTERS) spelt += String.fromCharCode(codePoint & 0x7f)
    } else if (start !== -1 && !isInvisible(codePoint)) {
      close()
    }
    previous = codePoint
    index += units - 1
  }
  if (start !== -1 && runs.length < MAX_HIDDEN_RUNS) close()
  return runs
}

const MAX_SPELT_LETTERS = 8
