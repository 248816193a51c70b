import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { demoRequests } from '../deploy/demo/requests.js'
import { check } from '../src/commands/check.js'
import { inspect } from '../src/commands/inspect.js'
import { key } from '../src/commands/key.js'
import { ratelimit } from '../src/commands/ratelimit.js'
import { serve } from '../src/commands/serve.js'
import { verifyAuditFile } from '../src/commands/verify-audit.js'
import { loadConfig } from '../src/config/load.js'
import { leaseMarginMs, sections } from '../src/config/schema.js'
import { denialStatus } from '../src/denial.js'
import { internalHeaders } from '../src/envoy/internal-headers.js'
import { reportNames } from '../src/envoy/report.js'
import { dialects } from '../src/llm/dialects.js'
import { anthropicGuardedNames } from '../src/llm/dialects/anthropic-fields.js'
import { openaiGuardedNames } from '../src/llm/dialects/openai-fields.js'
import { createMetrics } from '../src/telemetry/metrics.js'
import { MINUTE_MS } from '../src/units.js'
import { play } from './cli/terminal.js'
import { anchorsOf, codeOf, documents, read, root, spansOf, tableOf } from './markdown.js'
import { policyKeys } from './policy-keys.js'

test('README is at most 150 lines', () => {
  expect(read('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(150)
})

test('every document begins with its title', () => {
  expect(documents.filter((file) => !read(file).startsWith('# '))).toEqual([])
})

describe('the table of decisions', () => {
  const statuses = Object.entries(denialStatus).sort()

  test('in README has every reason once, with its status', () => {
    const told = tableOf('README.md', ['what is wrong', 'reason', 'status']).flatMap(
      ([, reasons = '', status]) => spansOf(reasons).map((reason) => [reason, Number(status)]),
    )
    expect(told.sort()).toEqual(statuses)
  })

  test('in docs/protocol.md has every reason once, with its status', () => {
    const told = tableOf('docs/protocol.md', ['reason', 'status', 'why']).map(
      ([reason = '', status]) => [spansOf(reason)[0], Number(status)],
    )
    expect(told.sort()).toEqual(statuses)
  })

  test("in docs/protocol.md has every code that envoy.yaml gives Envoy's own errors", () => {
    const told = tableOf('docs/protocol.md', ['code', 'status', 'when'])
    const given = [...read('envoy.yaml').matchAll(/\bcode: ([a-z_]+)\b/g)].map(([, code]) => code)
    expect(given).not.toEqual([])
    expect(told.map(([code = '']) => spansOf(code)[0]).sort()).toEqual([...new Set(given)].sort())
  })
})

test('every link to the repository leads to a file, and to a heading of it', () => {
  const broken = documents.flatMap((file) =>
    [...read(file).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) => {
      if (/^https?:/.test(link)) return []
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? file : join(dirname(file), path)
      const leads =
        existsSync(join(root, target)) &&
        (anchor === undefined || anchorsOf(target).includes(anchor))
      return leads ? [] : [`${file}: ${link}`]
    }),
  )
  expect(broken).toEqual([])
})

describe('what a document names', () => {
  test('as a target of make is one', () => {
    const targets = [...read('Makefile').matchAll(/^([a-z]+):/gm)].map(([, name]) => name)
    const named = documents.flatMap((file) =>
      codeOf(file).flatMap((code) =>
        [...code.matchAll(/\bmake ([a-z]+)/g)].map(([, name]) => name),
      ),
    )
    expect(named).toContain('run')
    expect(named.filter((name) => !targets.includes(name))).toEqual([])
  })

  test('as a command of tollgate is one, with options that it has', () => {
    const commands = [serve, check, inspect, verifyAuditFile, ratelimit, key]
    const calls = documents.flatMap((file) =>
      codeOf(file).flatMap((code) => [
        ...code.matchAll(/(?:^|npx |\| )tollgate ([a-z-]+)([^\n|]*)/gm),
      ]),
    )
    expect(calls.length).toBeGreaterThan(5)
    const wrong = calls.flatMap(([call, name, rest = '']) => {
      const command = commands.find((candidate) => candidate.name === name)
      const options = [...rest.matchAll(/--[a-z-]+/g)].map(([option]) => option)
      return options.every((option) => command?.help.includes(option)) && command ? [] : [call]
    })
    expect(wrong).toEqual([])
  })

  test('as a metric is one of the program', async () => {
    const families = [...(await createMetrics().render()).matchAll(/^# TYPE (\S+) (\S+)$/gm)]
    const names = families.flatMap(([, name = '', type]) =>
      type === 'histogram' ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
    )
    const named = documents.flatMap((file) =>
      [...read(file).matchAll(/\btollgate_[a-z_]+\b/g)].map(([name]) => name),
    )
    expect(named).toContain('tollgate_ledger_info')
    expect(named.filter((name) => !names.includes(name))).toEqual([])
  })

  test('as guarded content is all that there is', () => {
    const guarded = new Set([...openaiGuardedNames, ...anthropicGuardedNames])
    const told = tableOf('docs/inspection.md', ['what', 'names for `fields`']).flatMap(
      ([, names = '']) => spansOf(names),
    )
    expect([...new Set(told)].sort()).toEqual([...guarded].sort())
  })

  test('is no path of one machine, and no host of a package registry', () => {
    const pattern = /\/(?:work|root|home)\/|registry\.(?!example\.)|npmjs|pypi\.|goproxy/
    expect(documents.filter((file) => pattern.test(read(file)))).toEqual([])
  })
})

describe('docs/protocol.md', () => {
  function firstCells(...columns: readonly string[]): readonly string[] {
    return tableOf('docs/protocol.md', columns).flatMap(([name = '']) => spansOf(name))
  }

  test('has every path that a dialect reads', () => {
    const paths = dialects.flatMap((dialect) => dialect.paths)
    expect([...firstCells('path', 'dialect')].sort()).toEqual([...paths].sort())
  })

  test('has every header that the upstream gets', () => {
    const headers = Object.values(internalHeaders)
    expect([...firstCells('header', 'value')].sort()).toEqual([...headers].sort())
  })

  test('has every figure of the report', () => {
    expect(firstCells('`report`', 'figure', 'from')).toEqual(reportNames)
  })
})

test('the tour in README shows the requests that the demo plays', () => {
  const readme = read('README.md')
  const titles = demoRequests.map(
    ({ title, caller = 'nobody', path }, index) =>
      `${String(index + 1)}. ${title} (${caller}, POST ${path})`,
  )
  expect(titles.filter((title) => !readme.includes(title))).toEqual([])
  const count = String(demoRequests.length)
  expect(readme).toContain(`${count} of ${count} came out as told`)
})

describe('docs/configuration.md', () => {
  const rows = new Map(
    tableOf('docs/configuration.md', ['key', 'value', 'default', 'meaning']).map(
      ([key = '', value = '', fallback = '', meaning = '']) => [
        spansOf(key)[0],
        { value, fallback, meaning },
      ],
    ),
  )

  test('lists every key of the schema, and no other', () => {
    expect([...rows.keys()].sort()).toEqual(policyKeys.map(({ path }) => path).sort())
  })

  test.each(policyKeys.map((key) => [key.path, key] as const))('is right on %s', (path, key) => {
    const row = rows.get(path)
    const [spelling = ''] = spansOf(row?.fallback ?? '')
    if (key.fallback.kind === 'value') expect(parse(spelling)).toEqual(key.fallback.value)
    else expect(row?.fallback).toBe(key.fallback.kind)
    if (key.range !== undefined) expect(row?.value).toBe(key.range)
    // The four actions have a paragraph of their own.
    if (row?.value === 'action') expect(key.words).toEqual(['block', 'flag', 'shadow', 'off'])
    else expect(`${row?.value ?? ''} ${row?.meaning ?? ''}`).toSatisfy(holdsAll(key.words))
  })

  function holdsAll(words: readonly string[]): (text: string) => boolean {
    return (text) => words.every((word) => new RegExp(`\\b${word}\\b`).test(text))
  }
})

describe('a number in prose', () => {
  test('says how long known keys serve', () => {
    const [cacheMs = NaN, staleMs = NaN] = ['issuers[].jwksCacheMs', 'issuers[].jwksStaleMs'].map(
      (path) => {
        const fallback = policyKeys.find((key) => key.path === path)?.fallback
        return fallback?.kind === 'value' ? Number(fallback.value) : NaN
      },
    )
    const minutes = String((cacheMs + staleMs) / MINUTE_MS)
    expect(read('README.md')).toContain(`at most ${minutes} minutes`)
  })

  test('says how long a lease is', () => {
    const maxStreamMs = sections.maxStreamMs.parse(undefined)
    const minutes = String((maxStreamMs + leaseMarginMs) / MINUTE_MS)
    expect(read('README.md')).toContain(`${minutes} minutes`)
    expect(read('SECURITY.md')).toMatch(new RegExp(`by default\\s+${minutes} minutes`))
  })
})

describe('every policy that a document shows whole', () => {
  const policies = documents.flatMap((file) =>
    codeOf(file)
      .filter((code) => code.startsWith('issuers:'))
      .map((code) => [file, code] as const),
  )

  test('is in README and in docs/configuration.md', () => {
    expect(policies.map(([file]) => file)).toEqual(
      expect.arrayContaining(['README.md', 'docs/configuration.md']),
    )
  })

  test.each(policies)('is without fault: %s', (file, code) => {
    expect(loadConfig(file, code).policy.grants).not.toEqual([])
  })

  test.each(policies)(
    'agrees with envoy.yaml, with which the command below it compares: %s',
    async (_, code) => {
      const policy = join(mkdtempSync(join(tmpdir(), 'tollgate-documents-')), 'policy.yaml')
      writeFileSync(policy, code)
      const envoy = join(root, 'envoy.yaml')
      const { err } = await play(['check', '--policy', policy, '--envoy', envoy])
      expect(err).toBe('')
    },
  )
})
