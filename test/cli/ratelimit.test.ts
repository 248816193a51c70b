import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { play } from './terminal.js'

/** A directory of these files. */
function directoryOf(files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), 'tollgate-ratelimit-'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
  return path
}

const limits =
  'descriptors: [{ key: a, rate_limit: { unit: day }, descriptors: [{ key: b, rate_limit: { unit: day } }] }]'

describe('tollgate ratelimit check', () => {
  test('says how much there is where nothing is wrong', async () => {
    const path = directoryOf({ 'a.yaml': `domain: a\n${limits}`, 'b.yaml': 'domain: b', '.c': 'x' })
    const told = ['no fault', 'rate limits: 2 files, 2 domains', '  a: 2 limits', '  b: 0 limits']
    const { exitCode, out } = await play(['ratelimit', 'check', path])
    expect(out.split('\n')).toEqual(told)
    expect(exitCode).toBe(0)
    const files = [join(path, 'a.yaml'), join(path, 'b.yaml')]
    expect((await play(['ratelimit', 'check', ...files, path])).out.split('\n')).toEqual(told)
  })

  test('says every fault of all files, with file, line, key, value and what would be right', async () => {
    const path = directoryOf({
      'a.yaml': 'domain: a\ndescriptors:\n- { key: k, rate_limit: { unit: eon } }\n- { kye: k }',
      'b.yaml': 'domain: a',
    })
    const { exitCode, out, err } = await play(['ratelimit', 'check', path])
    expect(out).toBe('')
    expect(exitCode).toBe(1)
    expect(err.replaceAll(path, 'DIR').split('\n')).toEqual([
      'DIR/a.yaml:3: descriptors[0].rate_limit.unit is eon; expected one of second, minute, hour, day, week, month, year: an invalid rate limit unit',
      'DIR/a.yaml:4: descriptors[1].kye is an unknown key (did you mean key?); expected one of key, value, rate_limit, descriptors, shadow_mode, quota_mode, detailed_metric, value_to_metric, share_threshold, metadata',
      'DIR/a.yaml:4: descriptors[1].key is (missing); expected the key of an entry: a descriptor has no empty key',
      'DIR/b.yaml:1: domain is a; expected a domain of its own, or mergeDomains: true: duplicate domain, it is also that of DIR/a.yaml:1',
    ])
  })

  test('takes files of one domain where they are merged', async () => {
    const path = directoryOf({ 'a.yaml': `domain: a\n${limits}`, 'b.yaml': 'domain: a' })
    const { exitCode } = await play(['ratelimit', 'check', '--merge-domains', path])
    expect(exitCode).toBe(0)
  })

  const doubtful = 'domain: a\ndomain: b\ndescriptors: [{ key: k, unlimited: true }]'
  const warnings = [
    'warning: DIR/a.yaml:2: domain is given again (this one holds); expected each key once: the first is on line 1',
    expect.stringContaining(
      'warning: DIR/a.yaml:3: descriptors[0].unlimited is a key of rate_limit (no effect); expected one of key,',
    ) as string,
  ]
  const linesOf = (text: string, path: string): readonly string[] =>
    text.replaceAll(path, 'DIR').split('\n')

  test('says warnings beside what there is', async () => {
    const path = directoryOf({ 'a.yaml': doubtful })
    const { exitCode, out, err } = await play(['ratelimit', 'check', path])
    expect(linesOf(err, path)).toEqual(warnings)
    expect(out.split('\n')).toEqual(['no fault', 'rate limits: 1 file, 1 domain', '  b: 0 limits'])
    expect(exitCode).toBe(0)
  })

  test('fails for warnings where it is strict', async () => {
    const path = directoryOf({ 'a.yaml': doubtful })
    const { exitCode, out, err } = await play(['ratelimit', 'check', '--strict', path])
    expect(linesOf(err, path)).toEqual(warnings)
    expect(out).toBe('')
    expect(exitCode).toBe(1)
    const sound = directoryOf({ 'a.yaml': 'domain: a' })
    expect((await play(['ratelimit', 'check', '--strict', sound])).exitCode).toBe(0)
  })

  test('says warnings before faults, of all files', async () => {
    const path = directoryOf({
      'a.yaml': doubtful,
      'b.yaml': 'domain: tollgate',
      'c.yaml': 'domain: *b',
    })
    writeFileSync(join(path, 'd.yaml'), Buffer.from([0xff]))
    const { exitCode, err } = await play(['ratelimit', 'check', path])
    const lines = linesOf(err, path)
    expect(lines.slice(0, 2)).toEqual(warnings)
    expect(lines.slice(2).map((line) => line.slice(0, 10))).toEqual([
      'DIR/d.yaml',
      'DIR/b.yaml',
      'DIR/c.yaml',
    ])
    expect(exitCode).toBe(1)
  })

  test.each([
    [['ratelimit'], '"check" is needed'],
    [['ratelimit', 'chek', 'a'], 'unknown argument "chek"; there is "check"'],
    [['ratelimit', 'check'], 'a FILE or DIRECTORY is needed'],
    [['ratelimit', 'check', directoryOf({})], 'no file in "'],
  ])('refuses a command line that asks for nothing: %j', async (args, message) => {
    const { exitCode, err } = await play(args)
    expect(err).toContain(`tollgate ratelimit: ${message}`)
    expect(exitCode).toBe(2)
  })
})

describe('tollgate check', () => {
  const smallest = readFileSync(
    new URL('../config/fixtures/smallest.yaml', import.meta.url),
    'utf8',
  )

  function policyWith(files: Readonly<Record<string, string>> | undefined, more = ''): string {
    const path = directoryOf({
      'policy.yaml': `${smallest}rateLimitService: { configDir: limits }\n${more}`,
    })
    if (files === undefined) return path
    mkdirSync(join(path, 'limits'))
    for (const [name, text] of Object.entries(files))
      writeFileSync(join(path, 'limits', name), text)
    return path
  }

  const check = (path: string, ...options: readonly string[]) =>
    play(['check', '--policy', join(path, 'policy.yaml'), ...options])

  test('reads the rate limit files of the policy, too', async () => {
    const { exitCode, out } = await check(policyWith({ 'a.yaml': `domain: a\n${limits}` }))
    expect(out).toContain('\nrate limits: 1 file, 1 domain\n  a: 2 limits\n')
    expect(exitCode).toBe(0)
  })

  test('says their faults together with those of the policy', async () => {
    const path = policyWith({ 'a.yaml': 'domain: tollgate' }, 'keepCredential: perhaps\n')
    const { exitCode, err } = await check(path)
    expect(err.replaceAll(path, 'DIR').split('\n')).toEqual([
      'DIR/policy.yaml:13: keepCredential is perhaps; expected true or false',
      'DIR/limits/a.yaml:1: domain is tollgate; expected a domain other than tollgate, in which Envoy reports to Tollgate',
    ])
    expect(exitCode).toBe(1)
  })

  test('says their warnings, which are no faults, and says them beside faults', async () => {
    const limits = { 'a.yaml': 'domain: a\ndomain: b' }
    const told = (path: string): string =>
      `warning: ${path}/limits/a.yaml:2: domain is given again (this one holds); expected each key once: the first is on line 1`
    const path = policyWith(limits)
    const { exitCode, out, err } = await check(path)
    expect(err).toBe(told(path))
    expect(out).toContain('\nrate limits: 1 file, 1 domain\n  b: 0 limits\n')
    expect(exitCode).toBe(0)
    const wrong = policyWith(limits, 'keepCredential: perhaps\n')
    const refused = await check(wrong)
    expect(refused.err.split('\n')[0]).toBe(told(wrong))
    expect(refused.err).toContain('policy.yaml:13: keepCredential is perhaps')
    expect(refused.exitCode).toBe(1)
  })

  test('has no warnings of the policy: what they are about is a fault of it', async () => {
    const twice = policyWith({ 'a.yaml': 'domain: a' }, 'keepCredential: no\nkeepCredential: no\n')
    const { exitCode, err } = await check(twice)
    expect(err.replaceAll(twice, 'DIR')).toBe(
      'DIR/policy.yaml:14: keepCredential is given again; expected each key once: the first is on line 13',
    )
    expect(exitCode).toBe(1)
  })

  test('needs their directory only where the files must be there', async () => {
    const path = policyWith(undefined)
    const { exitCode, out } = await check(path)
    expect(out).toContain('files not looked at (--files opens them): rateLimitService.configDir')
    expect(exitCode).toBe(0)
    const strict = await check(path, '--files')
    expect(strict.err).toBe(`${path}/limits: expected a readable directory; there is none`)
    expect(strict.exitCode).toBe(1)
  })
})
