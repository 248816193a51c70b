import { soundItems, wrong } from './partly.js'
import type { Wrong } from './partly.js'
import type { FileContent } from './schema.js'

/** What the policy says that Envoy's file has to agree with; what is wrong in the policy is not compared. */
export interface EnvoyTerms {
  readonly maxBodyBytes: number | Wrong
  readonly examinationTimeoutMs: number | Wrong
  readonly maxStreamMs: number | Wrong
  /** Those of models and paths that are not wrong. */
  readonly pools: readonly string[]
  /** Origins that Envoy's cors filter must list; Tollgate itself does not use them. */
  readonly corsOrigins: readonly string[] | Wrong
}

/** Of a policy that could not be read at all. */
export const noTerms: EnvoyTerms = {
  maxBodyBytes: wrong,
  examinationTimeoutMs: wrong,
  maxStreamMs: wrong,
  pools: [],
  corsOrigins: wrong,
}

export function envoyTerms(content: FileContent): EnvoyTerms {
  const { limits, cors, maxStreamMs, models, paths } = content
  const pools = [...soundItems(models), ...soundItems(paths)].flatMap(({ item: { pool } }) =>
    pool === wrong ? [] : [pool],
  )
  const origins = soundItems(cors.origins).map(({ item }) => item)
  const complete = cors.origins !== wrong && origins.length === cors.origins.length
  return {
    maxBodyBytes: limits.maxBodyBytes,
    examinationTimeoutMs: limits.examinationTimeoutMs,
    maxStreamMs,
    pools: [...new Set(pools)],
    corsOrigins: complete ? origins : wrong,
  }
}
