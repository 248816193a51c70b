import { compileAutomaton } from '../aho-corasick.js'
import type { Detector, Report } from '../detector.js'
import { createRuns } from './character-runs.js'
import { secretFormats, secretNames } from './secret-formats.js'
import { readSecret } from './secret-readers.js'
import type { Anchor, Secret } from './secret-readers.js'

const anchors: readonly Anchor[] = [
  ...secretFormats.map((format): Anchor => ({ kind: 'format', text: format.prefix, format })),
  { kind: 'jwt', text: 'eyJ' },
  { kind: 'private_key', text: '-----BEGIN ' },
  { kind: 'address', text: '://' },
  ...secretNames.map((text): Anchor => ({ kind: 'assignment', text })),
]

/**
 * Credentials: formats with a prefix of their issuer, signed bearers, private keys, addresses with a password,
 * and values that a name like `password` is given. Reads the plain form. Placeholders and samples are no finding.
 */
export function createSecretsDetector(): Detector {
  const symbolOf = Uint16Array.from({ length: 0x10000 }, (_, unit) =>
    unit >= 0x41 && unit <= 0x5a ? unit | 0x20 : unit,
  )
  const groups = groupByText(anchors)
  const patterns = [...groups.keys()].map((text) => [...text].map((one) => one.charCodeAt(0)))
  const anchorsOf = [...groups.values()]
  const automaton = compileAutomaton(patterns, { symbolOf, boundary: undefined })
  return {
    name: 'secrets',
    category: 'secrets',
    detect: (view, _segment, report) => {
      const runs = createRuns(view.plain)
      const found = createOutermost(report)
      let steps = 0
      steps += automaton.scan(view.plain, (pattern, end) => {
        for (const anchor of anchorsOf[pattern] ?? []) {
          const start = end - anchor.text.length
          if (start < found.until()) continue
          const secret = readSecret(runs, anchor, start, end)
          if (secret !== undefined) found.add(secret)
        }
      })
      return steps + runs.steps()
    },
  }
}

function groupByText(all: readonly Anchor[]): ReadonlyMap<string, readonly Anchor[]> {
  const groups = new Map<string, Anchor[]>()
  for (const anchor of all) {
    const key = anchor.text.toLowerCase()
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [anchor])
    else group.push(anchor)
  }
  return groups
}

/** Reports a secret once, also where several anchors lie in it. */
function createOutermost(report: Report): { until: () => number; add: (secret: Secret) => void } {
  let until = 0
  return {
    until: () => until,
    add: (secret) => {
      until = secret.end
      report({ ...secret, level: 'plain' })
    },
  }
}
