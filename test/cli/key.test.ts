import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.js'
import { apiKeyHash } from '../../src/identity/api-keys.js'
import { runs } from '../runs.js'
import { play } from './terminal.js'

const needed = ['key', 'new', '--id', 'nightly', '--tenant', 'acme', '--subject', 'batch']

/** What a policy with the printed entry knows. */
function keysOf(entry: string) {
  return loadConfig('policy.yaml', `apiKeys:\n${entry}\n`).policy.apiKeys
}

describe('tollgate key new', () => {
  test('prints a key once, and the entry of the policy that knows it', async () => {
    const { exitCode, out, err } = await play(needed)
    expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' })
    const [key = '', comment, entry = '', ...rest] = out.split('\n')
    expect(key).toMatch(/^tgk_[\w-]{43}$/)
    expect(comment).toMatch(/^# /)
    expect(rest).toEqual([])
    expect(out.split(key)).toHaveLength(2)
    expect(entry).toBe(
      `- { id: "nightly", sha256: "${apiKeyHash(key)}", tenant: "acme", subject: "batch" }`,
    )
    expect(keysOf(entry)).toMatchObject([{ id: 'nightly', sha256: apiKeyHash(key) }])
  })

  test('never prints the same one again', async () => {
    const played = await Promise.all(Array.from({ length: 20 }, () => play(needed)))
    expect(new Set(played.map(({ out }) => out.split('\n')[0])).size).toBe(20)
  })

  test('takes everything that an entry may say', async () => {
    const more = ['--client', 'cron', '--group', 'research', '--group', 'sales']
    const { out } = await play([...needed, ...more, '--expires', '2027-01-31T00:00:00Z'])
    expect(keysOf(out.split('\n')[2] ?? '')).toMatchObject([
      {
        client: 'cron',
        groups: ['research', 'sales'],
        expiresAtEpochMs: Date.UTC(2027, 0, 31),
      },
    ])
  })

  test('prints what the policy reads as it was said, whatever is in it', async () => {
    const text = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
      .filter((value) => value.length <= 255 && !/\p{Cc}/u.test(value))
    await fc.assert(
      fc.asyncProperty(text, text, text, async (tenant, subject, group) => {
        const args = [`--tenant=${tenant}`, `--subject=${subject}`, `--group=${group}`]
        const { exitCode, out } = await play(['key', 'new', '--id', 'a', ...args])
        expect(exitCode).toBe(0)
        expect(keysOf(out.split('\n')[2] ?? '')).toMatchObject([
          { tenant, subject, groups: [group] },
        ])
      }),
      { numRuns: runs(100) },
    )
  })

  test.each([
    [['key'], '"new" is needed'],
    [['key', 'old'], 'unknown argument "old"; there is "new"'],
    [[...needed, 'more'], 'unexpected argument "more"'],
    [needed.slice(0, -2), '--subject SUBJECT is needed'],
    [[...needed, '--id', 'b'], '--id is given more than once'],
    [[...needed, '--expires', 'soon'], '--expires: expected a date and time with its zone'],
    [[...needed, '--group', ''], '--group: expected a group'],
    [['key', 'new', '--id', 'a b', '--tenant', 't', '--subject', 's'], '--id: expected a name'],
    [[...needed, '--scope', 'x'], "Unknown option '--scope'"],
  ])('refuses what makes no entry, and prints no key: %j', async (args, message) => {
    const { exitCode, out, err } = await play(args)
    expect(err).toContain(`tollgate key: ${message}`)
    expect(out).toBe('')
    expect(exitCode).toBe(2)
  })

  test('says with --help how it is called, and how it ends', async () => {
    const { exitCode, out } = await play(['key', '--help'])
    expect(out).toContain('Usage: tollgate key new --id ID')
    expect(out).toContain('Exit codes:')
    expect(exitCode).toBe(0)
  })
})
