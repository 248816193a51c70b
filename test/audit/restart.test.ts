import { execFileSync, spawn } from 'node:child_process'
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openAppendFile } from '../../src/audit/append-file.js'
import { verifyAudit } from '../../src/audit/verify.js'
import { ConfigError } from '../../src/errors.js'
import { decision, makeBench, makeKeys, scratch } from './audit-fixture.js'
import type { Bench } from './audit-fixture.js'
import { runs } from '../runs.js'

async function messageOf(opening: Promise<unknown>): Promise<string> {
  const failure: unknown = await opening.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(failure).toBeInstanceOf(ConfigError)
  return (failure as ConfigError).message
}

async function filled(count = 30): Promise<Bench> {
  const bench = makeBench()
  const log = await bench.open({ checkpointEveryRecords: 10 })
  for (let at = 0; at < count; at += 1) await log.append(decision(`id-${String(at)}`))
  await log.close()
  return bench
}

describe('a restart', () => {
  test('continues the chain, and says where', async () => {
    const bench = await filled()
    const before = bench.lines().length
    const log = await bench.open()
    await log.append(decision('later'))
    await log.close()
    expect(bench.records()[before]).toMatchObject({ type: 'resume', seq: before })
    expect(await bench.verify(bench.checkpoints)).toMatchObject({
      kind: 'intact',
      firstSeq: 0,
      adoptedCount: 0,
      unprovedCount: 0,
    })
  })

  test('with another key continues the chain; both keys together prove it', async () => {
    const bench = await filled()
    const other = makeKeys()
    const log = await bench.open({ keyFile: other.keyFile })
    await log.append(decision('later'))
    await log.close()
    expect(await bench.verify()).toMatchObject({ kind: 'broken', fault: 'key_unknown' })
    const keys = [...bench.keys, other.verifying]
    expect(await verifyAudit(createReadStream(bench.file), { keys })).toMatchObject({
      kind: 'intact',
      unprovedCount: 0,
    })
  })

  test('after a cut at any byte removes at most one torn line, says so, and verifies', async () => {
    const whole = await filled()
    const bytes = readFileSync(whole.file)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: bytes.length }), async (cut) => {
        const bench = makeBench()
        copyFileSync(whole.file, bench.file)
        truncateSync(bench.file, cut)
        const kept = bytes.subarray(0, cut).lastIndexOf(10) + 1
        const log = await bench.open({ checkpointEveryRecords: 10 })
        await log.append(decision('after'))
        await log.close()
        const now = readFileSync(bench.file)
        expect(now.subarray(0, kept).equals(bytes.subarray(0, kept))).toBe(true)
        const torn = bench.records().filter((record) => record['event'] === 'torn_line_removed')
        expect(torn.length).toBe(kept < cut ? 1 : 0)
        const keys = [...bench.keys, ...whole.keys]
        const result = await verifyAudit(createReadStream(bench.file), { keys })
        expect(result).toMatchObject({ kind: 'intact', unprovedCount: 0, tornBytes: 0 })
      }),
      { numRuns: runs(60), seed: 4 },
    )
  })

  test('that finds its file cut to nothing after it was read says so', async () => {
    const bench = await filled()
    const seq = bench.lines().length
    const log = await bench.open({
      openFile(path) {
        truncateSync(path)
        return openAppendFile(path)
      },
    })
    await log.close()
    expect(bench.records()[0]).toMatchObject({ type: 'truncation', seq })
  })

  test('continues a file that begins with a truncation', async () => {
    const bench = makeBench()
    const log = await bench.open()
    await log.append(decision('a'))
    truncateSync(bench.file)
    await log.append(decision('b'))
    await log.close()
    const again = await bench.open()
    await again.close()
    expect(bench.records().map(({ type, seq }) => [type, seq])).toEqual([
      ['truncation', 2],
      ['decision', 3],
      ['checkpoint', 4],
      ['resume', 5],
      ['checkpoint', 6],
    ])
  })

  test('finds the end of a file much longer than what it reads', async () => {
    const bench = makeBench()
    const log = await bench.open()
    const detail = 'x'.repeat(3000)
    await Promise.all(
      Array.from({ length: 1500 }, (_, at) => log.append({ ...decision(String(at)), detail })),
    )
    await log.close()
    const again = await bench.open()
    await again.close()
    expect(await bench.verify(bench.checkpoints)).toMatchObject({ kind: 'intact', firstSeq: 0 })
  })
})

describe('it refuses to start', () => {
  const expected = 'audit.file expected an audit file, or a path where one can be made'

  test.each([
    ['edited', (line: string) => line.replace('acme', 'evil')],
    ['malformed', (line: string) => `${line} `],
  ])('when one of the last lines is %s', async (fault, change) => {
    const bench = await filled()
    const lines = bench.lines()
    writeFileSync(bench.file, `${lines.with(20, change(lines[20] ?? '')).join('\n')}\n`)
    expect(await messageOf(bench.open())).toBe(
      `${bench.file}: ${expected} (one of its last lines is ${fault})`,
    )
  })

  test('when one of the last lines is missing', async () => {
    const bench = await filled()
    writeFileSync(bench.file, `${bench.lines().toSpliced(20, 1).join('\n')}\n`)
    expect(await messageOf(bench.open())).toBe(
      `${bench.file}: ${expected} (line 21 does not continue the one before it)`,
    )
  })

  test.each([
    [
      'another file',
      'root:x:0:0:root:/root:/bin/bash\n',
      'its first line is not that of an audit file',
    ],
    ['another file without an end of line', 'hello', 'it is no audit file'],
    ['a long other file', 'x'.repeat(2_000_000), 'it is no audit file'],
  ])('on %s, and leaves it alone', async (_name, content, reason) => {
    const bench = makeBench()
    writeFileSync(bench.file, content)
    expect(await messageOf(bench.open())).toBe(`${bench.file}: ${expected} (${reason})`)
    expect(readFileSync(bench.file, 'utf8')).toBe(content)
  })

  test('on a directory, and where there is none', async () => {
    const bench = makeBench()
    mkdirSync(bench.file)
    const special = `${expected} (not a regular file)`
    expect(await messageOf(bench.open())).toBe(`${bench.file}: ${special}`)
    const missing = join(scratch(), 'none', 'audit.jsonl')
    expect(await messageOf(bench.open({ file: missing }))).toMatch(
      /audit\.file expected a directory where a lock can be made \(E[A-Z]+\)$/,
    )
  })

  test('on a pipe, without waiting for whoever writes to it', async () => {
    const bench = makeBench()
    execFileSync('mkfifo', [bench.file])
    expect(await messageOf(bench.open())).toBe(`${bench.file}: ${expected} (not a regular file)`)
    expect(readdirSync(dirname(bench.file))).toEqual(['audit.jsonl'])
  })

  test('with a key that is none, without a word of it', async () => {
    const bench = makeBench()
    const keyFile = join(scratch(), 'bad.pem')
    writeFileSync(keyFile, 'canary-secret')
    expect(await messageOf(bench.open({ keyFile }))).toBe(
      `${keyFile}: audit.keyFile expected an Ed25519 private key in PEM form (not an Ed25519 private key in PEM form)`,
    )
  })
})

describe('one file has one writer', () => {
  test('a second one is refused while the first runs, and let in after it', async () => {
    const bench = makeBench()
    const log = await bench.open()
    expect(await messageOf(bench.open())).toBe(
      `${bench.file}: audit.file expected a file that no other process writes`,
    )
    await log.append(decision('a'))
    await log.close()
    expect(existsSync(`${bench.file}.lock.1`)).toBe(false)
    const next = await bench.open()
    await next.close()
  })

  test('a lock that a killed process left does not block a restart', async () => {
    const bench = makeBench()
    const child = spawn(process.execPath, [
      '-e',
      `require('node:net').createServer().listen({ path: process.argv[1] }, () => console.log('held'))`,
      `${bench.file}.lock.1`,
    ])
    await new Promise((resolve) => child.stdout.once('data', resolve))
    expect(await messageOf(bench.open())).toContain('that no other process writes')
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
    expect(existsSync(`${bench.file}.lock.1`)).toBe(true)
    const log = await bench.open()
    await log.append(decision('a'))
    await log.close()
    expect(await bench.verify()).toMatchObject({ kind: 'intact' })
  })

  test('of three that find the same dead lock at once one alone is let in', async () => {
    for (let round = 0; round < 20; round += 1) {
      const bench = makeBench()
      await leaveDeadLock(`${bench.file}.lock.1`)
      const results = await Promise.allSettled([bench.open(), bench.open(), bench.open()])
      const opened = results.filter((result) => result.status === 'fulfilled')
      expect(opened.length).toBe(1)
      for (const result of opened) await result.value.close()
      expect(readdirSync(dirname(bench.file))).toEqual(['audit.jsonl'])
    }
  })

  test('a file that is no lock is not removed', async () => {
    const bench = makeBench()
    writeFileSync(`${bench.file}.lock.1`, 'precious')
    expect(await messageOf(bench.open())).toContain('is in the way: it is no lock of this program')
    expect(readFileSync(`${bench.file}.lock.1`, 'utf8')).toBe('precious')
  })

  test('a path too long for a lock is refused, not cut', async () => {
    const file = join(scratch(), 'x'.repeat(100), 'audit.jsonl')
    expect(await messageOf(makeBench().open({ file }))).toContain(
      'the path is longer than 91 bytes',
    )
  })
})

/** A socket file whose listener is gone. */
async function leaveDeadLock(path: string): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen({ path: `${path}.live` }, resolve))
  renameSync(`${path}.live`, path)
  await new Promise((resolve) => server.close(resolve))
}
