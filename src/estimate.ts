import type { Admitted } from './policy.js'

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
