import { isDenial } from '../denial.js'
import type { Denial } from '../denial.js'
import type { Finding } from '../inspection/finding.js'
import { compileInspection } from '../inspection/inspect.js'
import type { Inspecting, Inspector } from '../inspection/inspect.js'
import type { InspectionRules } from '../inspection/rules.js'
import type { Ask, AskSummary } from '../llm/ask.js'
import type { Dialect } from '../llm/dialect.js'
import type { EncodingName } from '../llm/encodings.js'
import { parseJson } from '../llm/json.js'
import { readAsk } from '../llm/read-ask.js'
import type { Counting, TokenCounter } from '../llm/tokens.js'

/** A moment to stop at, on a monotonic clock. */
export interface TimeBound {
  nowMs(): number
  readonly deadlineMs: number
}

/** The text of one prompt and the three kinds of work on it; the same inline and in a worker thread. */
export interface PromptText {
  readonly summary: AskSummary
  /** @throws DependencyError the bound was reached */
  inspect(inspector: Inspector, bound: TimeBound): readonly Finding[] | Denial
  startInspection(inspector: Inspector): Inspecting
  startCount(counter: TokenCounter, encoding: EncodingName): Counting
}

export function readPrompt(dialect: Dialect, path: string, body: Uint8Array): PromptText | Denial {
  const json = parseJson(body)
  if (isDenial(json)) return json
  const ask = readAsk(dialect, path, json)
  if (isDenial(ask)) return ask
  return {
    summary: summarize(ask),
    inspect: (inspector, bound) => inspector.inspect(ask.segments, bound),
    startInspection: (inspector) => inspector.start(ask.segments),
    startCount: (counter, encoding) =>
      counter.start(
        encoding,
        ask.segments.map((segment) => segment.text),
      ),
  }
}

function summarize({ segments, ...rest }: Ask): AskSummary {
  const segmentBytes = segments.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
  return { ...rest, segmentCount: segments.length, segmentBytes }
}

/**
 * Compiles each set of rules once; a policy that is gone takes its inspector with it. Compiling takes 25 ms and more
 * (measured), so a reload that leaves the rules as they were keeps what was compiled.
 */
export function createInspectors(): (rules: InspectionRules) => Inspector {
  const inspectors = new WeakMap<InspectionRules, Inspector>()
  let latest: { readonly content: string; readonly inspector: Inspector } | undefined
  return (rules) => {
    let inspector = inspectors.get(rules)
    if (inspector === undefined) {
      const content = JSON.stringify(rules)
      if (latest?.content !== content) latest = { content, inspector: compileInspection(rules) }
      inspector = latest.inspector
      inspectors.set(rules, inspector)
    }
    return inspector
  }
}
