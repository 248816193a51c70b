import type { AskSummary } from './llm/ask.js'
import type { Admitted } from './policy.js'
import type { Estimate } from './quota/units.js'
import { saturated } from './units.js'

/** What a request is expected to use, and the output cap to put into its body, for one choice. */
export interface Sized {
  readonly estimate: Estimate
  readonly injectTokens: number | undefined
}

/** What the estimate can be at least and at most. */
export interface EstimateBounds {
  readonly least: Estimate
  readonly most: Estimate
}

/** @param textTokens of all its texts */
export function sizeOf(
  admitted: Admitted,
  ask: Pick<AskSummary, 'choices' | 'markupTokens'>,
  textTokens: number,
): Sized {
  const inputTokens = textTokens + templateTokens(ask.markupTokens)
  const { totalTokens, injectTokens } = outputFor(admitted, ask.choices, inputTokens)
  return { estimate: { inputTokens, outputTokens: saturated(totalTokens) }, injectTokens }
}

/** Before its texts are counted: they have no more tokens than bytes, and more input leaves no more room for output. */
export function boundsOf(
  admitted: Admitted,
  ask: Pick<AskSummary, 'choices' | 'markupTokens' | 'segmentBytes'>,
): EstimateBounds {
  const { estimate: without } = sizeOf(admitted, ask, 0)
  const { estimate: full } = sizeOf(admitted, ask, ask.segmentBytes)
  return {
    least: { ...without, outputTokens: full.outputTokens },
    most: { ...full, outputTokens: without.outputTokens },
  }
}

/**
 * What the engine's chat template adds to the text: a preamble, and the marks that the dialect counted. Generous,
 * since what was not used is refunded and what was short would be debt.
 */
export function templateTokens(markupTokens: number): number {
  return 32 + markupTokens
}

export interface Output {
  /** Reserved for all choices together. */
  readonly totalTokens: number
  /** The cap to put into the body, for one choice. */
  readonly injectTokens: number | undefined
}

export function outputFor(admitted: Admitted, choices: number, inputTokens: number): Output {
  // What the engine can generate at all: a cap beyond it would only make the engine refuse the request.
  const roomTokens = Math.max(1, admitted.model.contextTokens - inputTokens)
  const { outputTokens, injectCapTokens } = admitted
  if (injectCapTokens !== undefined) {
    const injectTokens = Math.min(injectCapTokens, roomTokens)
    return { totalTokens: injectTokens * choices, injectTokens }
  }
  if (outputTokens !== undefined) {
    return { totalTokens: outputTokens * choices, injectTokens: undefined }
  }
  // The input is counted once, so what a caller makes it seem longer by (fields that no template prints) may lower
  // the output of one choice only. For the others the whole context stays held.
  const totalTokens = roomTokens + (choices - 1) * admitted.model.contextTokens
  return { totalTokens, injectTokens: undefined }
}
