import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createMetrics } from '../../src/telemetry/metrics.js'
import { quotaOf } from '../quota/quotas.js'
import { repository } from './kustomization.js'

const page = readFileSync(join(repository, 'docs', 'operations.md'), 'utf8')

const metrics = createMetrics()
// Those that have no series before something is said of them.
metrics.setPolicy('0123456789ab', [quotaOf()])
metrics.setLedger('memory')
metrics.rateLimit.countAnswer({
  ...{ isOver: false, isDomainUnknown: false, isShadowed: false },
  ...{ statuses: [], tightest: undefined, metadata: undefined },
  measures: [
    {
      metricKey: 'd.k',
      hits: {
        ...{ total_hits: 1, within_limit: 1, near_limit: 0 },
        ...{ over_limit: 0, over_limit_with_local_cache: 0, shadow_mode: 0 },
      },
    },
  ],
})
const rendered = await metrics.render()
const names = [...rendered.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name)

test('the page lists every metric of Tollgate, with its labels', () => {
  const listed = [...page.matchAll(/^\| `(tollgate_\w+)` \| (.*?) \|/gm)].map(
    ([, name, labels = '']) => [
      name,
      [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label).sort(),
    ],
  )
  const existing = names
    .filter((name) => name.startsWith('tollgate_'))
    .map((name) => {
      const [, labels = ''] =
        new RegExp(`^${name}(?:_bucket)?\\{(.*?)\\}`, 'm').exec(rendered) ?? []
      return [
        name,
        [...labels.matchAll(/(\w+)=/g)]
          .map(([, label]) => label)
          .filter((label) => label !== 'le')
          .sort(),
      ]
    })
  expect(new Map(listed as [string, string[]][])).toEqual(new Map(existing as [string, string[]][]))
})

test('every series that the page asks for exists', () => {
  const series = [...page.matchAll(/\b((?:tollgate|process|nodejs)_[a-z0-9_]+)\b(?:\{([^}]*)\})?/g)]
  expect(series.length).toBeGreaterThan(20)
  for (const [whole, name = '', matchers = ''] of series) {
    expect(names, whole).toContain(name)
    for (const [, label, operator, value] of matchers.matchAll(/(\w+)(!?=)"([^"]*)"/g)) {
      expect(operator).toMatch(/^!?=$/)
      expect(rendered, whole).toMatch(
        new RegExp(`^${name}(?:_bucket)?\\{[^}]*${label ?? ''}="${value ?? ''}"`, 'm'),
      )
    }
  }
})
