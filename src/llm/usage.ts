import { saturated } from '../units.js'
import type { Dialect } from './dialect.js'

/** The token figures of a report, as the model wrote them; undefined where it wrote none. */
export interface ReportedUsage {
  readonly inputTokens: number | undefined
  readonly outputTokens: number | undefined
  readonly cachedTokens: number | undefined
  readonly cacheWriteTokens: number | undefined
}

/**
 * Input tokens that the model worked on. OpenAI counts cached tokens within `prompt_tokens`; Anthropic's
 * `cache_read_input_tokens` and `cache_creation_input_tokens` come on top of `input_tokens`.
 */
export function totalInputTokens(
  dialect: Pick<Dialect, 'cachedTokens'>,
  usage: ReportedUsage,
): number | undefined {
  if (usage.inputTokens === undefined) return undefined
  switch (dialect.cachedTokens) {
    case 'within_input':
      return usage.inputTokens
    case 'on_top':
      return saturated(
        usage.inputTokens + (usage.cachedTokens ?? 0) + (usage.cacheWriteTokens ?? 0),
      )
  }
}
