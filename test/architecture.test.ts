import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'

/**
 * Imports run one way: a file may import what has a lower rank, or its own room. Files of one rank that are no
 * room may not import each other, unless the table says so by giving them different ranks.
 */
const ranks: Record<string, number> = {
  // the ground
  'units.ts': 0,
  'key-text.ts': 0,
  'unix-socket.ts': 0,
  'clock.ts': 0,
  'turns.ts': 1,
  'segment.ts': 0,
  'money.ts': 0,
  'prices.ts': 0,
  'spiffe.ts': 0,
  'certificates.ts': 0,
  'headers.ts': 0,
  'errors.ts': 0,
  'denial.ts': 0,
  // the request as data, above the headers that it is made of
  'request.ts': 1,
  // what features keep things in, shared with other processes
  store: 1,
  // the features, which never import each other
  identity: 2,
  llm: 2,
  inspection: 2,
  quota: 2,
  ratelimit: 2,
  audit: 2,
  // what is made of features
  'admission.ts': 3,
  'policy.ts': 3,
  'shape.ts': 3,
  'shortage.ts': 3,
  prompt: 3,
  // what the stories are told with
  'decision.ts': 4,
  'estimate.ts': 4,
  'holds.ts': 4,
  'used-up.ts': 4,
  // the two stories
  'authorize.ts': 5,
  'meter.ts': 5,
  // what the second story leaves over
  'late-reports.ts': 6,
  'early-reports.ts': 6,
  // the edges
  envoy: 6,
  telemetry: 6,
  config: 6,
  'stale-socket.ts': 6,
  'grpc-tls.ts': 6,
  'server.ts': 7,
  'listen.ts': 7,
  admin: 7,
  'upkeep.ts': 7,
  'drain.ts': 7,
  // what the program is put together from
  'heap.ts': 8,
  'part-options.ts': 8,
  'rate-limits.ts': 8,
  'main.ts': 9,
  commands: 10,
  'cli.ts': 11,
}

/** Each library is known by as few rooms as can be. */
const owners: Record<string, readonly string[]> = {
  jose: ['identity'],
  '@dqbd/tiktoken': ['llm'],
  '@grpc/grpc-js': ['envoy', 'server.ts', 'listen.ts', 'grpc-tls.ts'],
  '@grpc/proto-loader': ['envoy'],
  'grpc-health-check': ['listen.ts'],
  pino: ['telemetry'],
  'prom-client': ['telemetry'],
  zod: ['config'],
  yaml: ['config'],
  re2js: ['inspection'],
  ioredis: ['store'],
}

const root = join(import.meta.dirname, '..', 'src')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
)

function room(file: string): string {
  return file.split('/')[0] ?? ''
}

const importPattern = /(?:from|import)\s*\(?\s*'([^']+)'/g

const edges = files.flatMap((from) =>
  [...readFileSync(join(root, from), 'utf8').matchAll(importPattern)].map((match) => ({
    from,
    specifier: match[1] ?? '',
  })),
)
const inner = edges
  .filter(({ specifier }) => specifier.startsWith('.'))
  .map(({ from, specifier }) => ({
    from,
    to: relative(root, join(root, dirname(from), specifier)).replace(/\.js$/, '.ts'),
  }))

describe('the house', () => {
  test('has a rank for every room and top-level file', () => {
    expect([...new Set(files.map(room))].filter((name) => ranks[name] === undefined)).toEqual([])
  })

  test('imports downwards only, and no feature imports another', () => {
    const wrong = inner.filter(({ from, to }) => {
      const own = ranks[room(from)] ?? -1
      const other = ranks[room(to)] ?? Infinity
      return room(from) !== room(to) && other >= own
    })
    expect(wrong).toEqual([])
  })

  test('has no cycle of imports, types included', () => {
    const targets = new Map<string, string[]>()
    for (const { from, to } of inner) targets.set(from, [...(targets.get(from) ?? []), to])
    const done = new Set<string>()
    const cycles: string[] = []
    const walk = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' > '))
      if (done.has(file) || path.includes(file)) return
      for (const next of targets.get(file) ?? []) walk(next, [...path, file])
      done.add(file)
    }
    for (const file of files) walk(file, [])
    expect(cycles).toEqual([])
  })

  test('knows each library in its own rooms only', () => {
    const wrong = edges.filter(({ from, specifier }) => {
      if (specifier.startsWith('.') || specifier.startsWith('node:')) return false
      const name = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')
      return !(owners[name] ?? []).includes(room(from))
    })
    expect(wrong).toEqual([])
  })

  test('exports nothing by default', () => {
    const wrong = files.filter((file) =>
      readFileSync(join(root, file), 'utf8').includes('export default'),
    )
    expect(wrong).toEqual([])
  })
})
