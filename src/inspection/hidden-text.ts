/** Text that no reader sees but a model may: where, in offsets of the segment's own text. */
export interface HiddenRun {
  readonly kind: 'hidden_tag_text' | 'hidden_variation_bytes'
  readonly span: readonly [start: number, end: number]
}

/** More runs than these tell nothing more, and a body full of them must not become a list of millions. */
export const MAX_HIDDEN_RUNS = 16
/** A flag such as Scotland's holds five tag letters after U+1F3F4; any other tag run of this length is a message. */
const MIN_TAG_LETTERS = 3
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

/** @returns the first `MAX_HIDDEN_RUNS` runs, in order */
export function findHidden(text: string): readonly HiddenRun[] {
  const runs: HiddenRun[] = []
  let start = 0
  let tagLetters = 0
  let selectors = 0
  let afterBlackFlag = false
  let previous = 0
  const close = (end: number): void => {
    if (tagLetters >= MIN_TAG_LETTERS && !afterBlackFlag) {
      runs.push({ kind: 'hidden_tag_text', span: [start, end] })
    } else if (selectors >= MIN_VARIATION_RUN) {
      runs.push({ kind: 'hidden_variation_bytes', span: [start, end] })
    }
    tagLetters = 0
    selectors = 0
  }
  for (let index = 0; index < text.length && runs.length < MAX_HIDDEN_RUNS; index++) {
    const unit = text.charCodeAt(index)
    if (unit < 0xd800 && tagLetters === 0 && selectors === 0) {
      previous = unit
      continue
    }
    const codePoint = text.codePointAt(index) ?? unit
    const tag = isTag(codePoint)
    const selector = isVariationSelector(codePoint)
    if (tag || selector) {
      if (tag ? tagLetters === 0 : selectors === 0) {
        close(index)
        start = index
        afterBlackFlag = previous === 0x1f3f4
      }
      if (tag) tagLetters++
      else selectors++
      // A flag names a region in at most six letters; more is a message that hides behind one.
      if (tagLetters > 6) afterBlackFlag = false
    } else {
      close(index)
    }
    previous = codePoint
    if (codePoint > 0xffff) index++
  }
  if (runs.length < MAX_HIDDEN_RUNS) close(text.length)
  return runs
}
