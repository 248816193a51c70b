import { generateKeyPairSync } from 'node:crypto'
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { openAuditLog } from '../../src/audit/file-log.js'
import type { AuditLog } from '../../src/audit/record.js'
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
  const log = await open(auditFile)
  for (let index = 0; index < 5; index += 1) await append(log, `generation-${String(index)}`)
  await log.close()
})

function open(file: string): Promise<AuditLog> {
  return openAuditLog({
    file,
    keyFile: privateKey,
    writeTimeoutMs: 10_000,
    clock: systemClock,
    onCheckpoint: (line) => checkpoints.push(line),
  })
}

function append(log: AuditLog, policyGeneration: string): Promise<void> {
  const time = '2026-01-01T00:00:00.000Z'
  return log.append({ type: 'lifecycle', time, event: 'policy_loaded', policyGeneration })
}

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
  expect(out).toMatch(
    /^intact: 7 of 7 lines are proved by 1 checkpoint of chain [\w-]{22}\nlast checkpoint: [^\n]+$/,
  )
  expect(exitCode).toBe(0)
})

test('what is said of an intact file is said in the singular where it is one', async () => {
  const path = join(directory, 'singular.jsonl')
  const log = await open(path)
  await append(log, 'a')
  await log.close()
  const again = await open(path)
  await again.close()
  appendFileSync(path, '{')
  const { out } = await play(['verify-audit', path, '--key', publicKey])
  expect(out).toContain('5 of 5 lines are proved by 2 checkpoints')
  expect(out).toContain('\n1 byte of an unfinished line at the end')
})

test('a file of which nothing is proved is not called intact', async () => {
  const path = changed('unproved.jsonl', (text) =>
    text
      .split('\n')
      .filter((line) => !line.includes('"type":"checkpoint"'))
      .join('\n'),
  )
  const { exitCode, out } = await play(['verify-audit', path, '--key', publicKey])
  expect(exitCode).toBe(1)
  expect(out).toMatch(
    /^nothing is proved: no checkpoint follows any line; Tollgate signs one every 60 s, and when it stops\n0 of 6 lines are proved by 0 checkpoints of chain [\w-]{22}$/,
  )
})

test('a later file of a chain is intact only for whoever says that it is one', async () => {
  const path = join(directory, 'rotated.jsonl')
  const log = await open(path)
  renameSync(path, `${path}.1`)
  await append(log, 'a')
  await log.close()
  const verify = ['verify-audit', path, '--key', publicKey]
  const alone = await play(verify)
  expect(alone.exitCode).toBe(1)
  expect(alone.out).toMatch(
    /^the beginning is missing: the first line is line 1 of its chain; name the earlier files too, or say --continues\n3 of 3 lines are proved by 1 checkpoint/,
  )
  const continued = await play([...verify, '--continues'])
  expect(continued.exitCode).toBe(0)
  expect(continued.out).toMatch(/^intact: 3 of 3 lines are proved by 1 checkpoint/)
  expect(continued.out).toContain('\nearlier files of the chain, up to line 1, were not given')
  const both = await play(['verify-audit', `${path}.1`, path, '--key', publicKey])
  expect(both).toMatchObject({ exitCode: 0 })
})

test('a file that was cut to nothing while it was written is not intact, whatever is said of it', async () => {
  const path = join(directory, 'truncated.jsonl')
  const log = await open(path)
  await append(log, 'a')
  truncateSync(path)
  await append(log, 'b')
  await log.close()
  for (const more of [[], ['--continues']]) {
    const { exitCode, out } = await play(['verify-audit', path, '--key', publicKey, ...more])
    expect(exitCode).toBe(1)
    expect(out).toMatch(
      /^the beginning is missing: the file was cut to nothing while Tollgate wrote it, before line 2; name a copy of what stood in it first\n3 of 3 lines/,
    )
  }
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
