import type { Provenance } from '../segment.js'

/** What kind of trouble a finding is. Each has its own action in the policy and its own denial reason. */
export type Category = 'injection' | 'control_tokens' | 'secrets' | 'personal_data' | 'prohibited'

/** block: refuse. flag: let pass, record, tell the upstream. shadow: let pass, record only. off: do not look. */
export type Action = 'block' | 'flag' | 'shadow' | 'off'

/** One hit of a detector. Says where and what kind, never the text itself (invariant 6). */
export interface Finding {
  readonly category: Category
  /** Which rule, from a closed list of the detector or a name of the policy; as `credit_card`. */
  readonly rule: string
  readonly provenance: Provenance
  /** Index of the segment in the request. */
  readonly segment: number
  /** UTF-16 offsets into the segment's own text, end exclusive. */
  readonly span: readonly [start: number, end: number]
  /** How sure, 0 to 1. */
  readonly score: number
  /** What the rules that it was found by say of its category; of a prohibited list, of its name. */
  readonly action: Action
}
