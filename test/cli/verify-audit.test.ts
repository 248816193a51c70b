import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { openAuditLog } from '../../src/audit/file-log.js'
import { systemClock } from '../../src/clock.js'
import { play } from './terminal.js'

const directory = mkdtempSync(join(tmpdir(), 'tollgate-verify-'))
const auditFile = join(directory, 'audit.jsonl')
const publicKey = join(directory, 'audit.pub')
const otherKey = join(directory, 'other.pub')
const privateKey = join(directory, 'audit.pem')
const checkpoints: string[] = []

function writeKeys(privateFile: string, publicFile: string): void {
  const pair = generateKeyPairSync('ed25519')
  writeFileSync(privateFile, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(publicFile, pair.publicKey.export({ type: 'spki', format: 'pem' }))
}

beforeAll(async () => {
  writeKeys(privateKey, publicKey)
  writeKeys(join(directory, 'other.pem'), otherKey)
  const log = await openAuditLog({
    file: auditFile,
    keyFile: privateKey,
    writeTimeoutMs: 10_000,
    clock: systemClock,
    onCheckpoint: (line) => checkpoints.push(line),
  })
  for (let index = 0; index < 5; index += 1) {
    await log.append({
      type: 'lifecycle',
      time: '2026-01-01T00:00:00.000Z',
      event: 'policy_loaded',
      policyGeneration: `generation-${String(index)}`,
    })
  }
  await log.close()
})

/** The audit file with its text changed. */
function changed(name: string, change: (text: string) => string): string {
  const path = join(directory, name)
  const before = readFileSync(auditFile, 'utf8')
  const after = change(before)
  expect(after).not.toBe(before)
  writeFileSync(path, after)
  return path
}

test('an untouched file is intact', async () => {
  const { exitCode, out } = await play(['verify-audit', auditFile, '--key', publicKey])
  expect(out).toMatch(/^intact: \d+ of \d+ lines are proved by \d+ checkpoints of chain /)
  expect(exitCode).toBe(0)
})

test('several keys may be given', async () => {
  const keys = ['--key', otherKey, '--key', publicKey]
  expect((await play(['verify-audit', auditFile, ...keys])).exitCode).toBe(0)
})

test('an edited line is named', async () => {
  const path = changed('edited.jsonl', (text) => text.replace('generation-3', 'generation-4'))
  const lineNumber =
    readFileSync(auditFile, 'utf8')
      .split('\n')
      .findIndex((line) => line.includes('generation-3')) + 1
  const { exitCode, out } = await play(['verify-audit', path, '--key', publicKey])
  expect(exitCode).toBe(1)
  expect(out).toMatch(
    new RegExp(
      `^broken at line ${String(lineNumber)}: its hash is not that of its content: it was edited; `,
    ),
  )
})

test('a removed line is found', async () => {
  const path = changed('removed.jsonl', (text) =>
    text
      .split('\n')
      .filter((line) => !line.includes('generation-2'))
      .join('\n'),
  )
  const { exitCode, out } = await play(['verify-audit', path, '--key', publicKey])
  expect(exitCode).toBe(1)
  expect(out).toContain('it does not continue the line before')
})

test('a cut end is found with the checkpoints from standard output', async () => {
  const path = changed('cut.jsonl', (text) => {
    const lines = text.trimEnd().split('\n')
    return `${lines.slice(0, -1).join('\n')}\n`
  })
  const anchors = join(directory, 'anchors')
  expect(checkpoints.length).toBeGreaterThan(0)
  writeFileSync(anchors, `${checkpoints.join('\n')}\n`)
  const { exitCode, out } = await play([
    'verify-audit',
    path,
    '--key',
    publicKey,
    '--anchors',
    anchors,
  ])
  expect(exitCode).toBe(1)
  expect(out).toContain('the end was cut off or written anew')
})

test('a key that did not sign is no proof', async () => {
  const { exitCode, out } = await play(['verify-audit', auditFile, '--key', otherKey])
  expect(exitCode).toBe(1)
  expect(out).toContain('signed by a key that was not given')
})

test('the private key is refused, by name', async () => {
  expect(await play(['verify-audit', auditFile, '--key', privateKey])).toMatchObject({
    exitCode: 1,
    err: `tollgate verify-audit: ${privateKey}: a public key is needed, not the private one`,
  })
})

test('a missing file or key is named', async () => {
  const missing = join(directory, 'missing')
  const noFile = await play(['verify-audit', missing, '--key', publicKey])
  expect(noFile.exitCode).toBe(1)
  expect(noFile.err).toContain(missing)
  const noKey = await play(['verify-audit', auditFile, '--key', missing])
  expect(noKey.exitCode).toBe(1)
  expect(noKey.err).toBe(`${missing}: expected a readable file; there is none`)
})

test('progress is shown where somebody watches, and wiped at the end', async () => {
  const { progress } = await play(['verify-audit', auditFile, '--key', publicKey], {
    watched: true,
  })
  expect(progress[0]).toMatch(/^100 %, \d+ lines$/)
  expect(progress.at(-1)).toBe('')
})
