import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { beforeAll, describe, expect, test } from 'vitest'
import { formatLine, GENESIS_HASH, payloadOf } from '../../src/audit/chain.js'
import type { ChainEntry, ChainState } from '../../src/audit/chain.js'
import { verifyAudit } from '../../src/audit/verify.js'
import type { VerifyResult } from '../../src/audit/verify-result.js'
import { decision, makeBench, makeKeys } from './audit-fixture.js'
import type { Bench } from './audit-fixture.js'

/** A chain of 120 records with a checkpoint after every 25 lines and one at its end. */
async function filled(): Promise<Bench> {
  const bench = makeBench()
  const log = await bench.open({ checkpointEveryRecords: 25 })
  for (let at = 0; at < 120; at += 1) await log.append(decision(`id-${String(at)}`))
  await log.close()
  return bench
}

function check(bench: Bench, text: string | Buffer, anchors?: string[]): Promise<VerifyResult> {
  const bytes = typeof text === 'string' ? Buffer.from(text, 'latin1') : text
  return verifyAudit(pieces(bytes), { keys: bench.keys, anchors: anchors ?? [] })
}

async function* pieces(bytes: Buffer, size = 1000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** What somebody without the key can do: change a line and hash everything after it anew. */
function rehash(lines: readonly string[]): string {
  let state: ChainState = { nextSeq: 0, lastHash: GENESIS_HASH }
  let text = ''
  for (const line of lines) {
    const entry = JSON.parse(line, (key, value: unknown) =>
      ['seq', 'prev', 'hash'].includes(key) ? undefined : value,
    ) as ChainEntry
    const next = formatLine(state, payloadOf(entry))
    text += next.text
    state = next.state
  }
  return text
}

/** Numerical Recipes' generator: the same thousand tamperings every time. */
function seeded(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

let bench: Bench
let lines: readonly string[]
let whole: string

beforeAll(async () => {
  bench = await filled()
  lines = bench.lines()
  whole = readFileSync(bench.file, 'latin1')
})

describe('an untouched file', () => {
  test('is intact, and proved to its last line', async () => {
    expect(await bench.verify(bench.checkpoints)).toEqual({
      kind: 'intact',
      chainId: expect.stringMatching(/^[\w-]{22}$/) as string,
      firstSeq: 0,
      lineCount: lines.length,
      provedCount: lines.length,
      adoptedCount: 0,
      unprovedCount: 0,
      checkpointCount: 5,
      lastCheckpointTime: '2026-05-28T20:26:40.000Z',
      lostRecordCount: 0,
      tornBytes: 0,
    })
  })

  test.each([1, 7, 600, 100_000])('is read the same in pieces of %d bytes', async (size) => {
    const result = await verifyAudit(pieces(Buffer.from(whole), size), { keys: bench.keys })
    expect(result).toMatchObject({ kind: 'intact', lineCount: lines.length })
  })

  test('tells of its progress', async () => {
    const seen: number[] = []
    await verifyAudit(createReadStream(bench.file, { highWaterMark: 10_000 }), {
      keys: bench.keys,
      onProgress: ({ bytes }) => seen.push(bytes),
    })
    expect(seen.at(-1)).toBe(whole.length)
    expect(seen.length).toBeGreaterThan(2)
  })

  test('says how many lines after the last checkpoint are unproved', async () => {
    const cut = `${lines.slice(0, -4).join('\n')}\n`
    expect(await check(bench, cut)).toMatchObject({
      kind: 'intact',
      provedCount: 104,
      unprovedCount: lines.length - 4 - 104,
    })
  })

  test('says how long a torn line at its end is', async () => {
    expect(await check(bench, `${whole}{"seq":`)).toMatchObject({ kind: 'intact', tornBytes: 7 })
  })
})

describe('a tampered file', () => {
  test('is found out in each of 1,000 random edits, deletions, swaps, insertions and cuts', async () => {
    const random = seeded(4)
    const undetected: string[] = []
    const faults = new Set<string>()
    for (let round = 0; round < 1000; round += 1) {
      const { name, text } = tamper(random)
      const result = await check(bench, text, bench.checkpoints.slice(-1))
      if (result.kind !== 'broken') undetected.push(`${String(round)} ${name}`)
      else faults.add(result.fault)
    }
    expect(undetected).toEqual([])
    expect([...faults].sort()).toEqual(
      [
        'anchor_missing',
        'broken_link',
        'checkpoint_forged',
        'checkpoint_missing',
        'edited',
        'header_missing',
        'malformed',
      ].sort(),
    )
  })

  function tamper(random: (below: number) => number): { name: string; text: string | Buffer } {
    const copy = [...lines]
    const at = random(copy.length)
    const line = copy[at] ?? ''
    const other = random(copy.length)
    const kind = random(9)
    switch (kind) {
      case 0: {
        const bytes = Buffer.from(whole, 'latin1')
        const where = random(bytes.length)
        bytes.writeUInt8((bytes.readUInt8(where) + 1 + random(255)) % 256, where)
        return { name: `byte ${String(where)}`, text: bytes }
      }
      case 1:
        copy.splice(at, 1 + random(5))
        return { name: `delete at ${String(at)}`, text: join(copy) }
      case 2: {
        const target = other === at ? (at + 1) % copy.length : other
        copy[at] = copy[target] ?? ''
        copy[target] = line
        return { name: `swap ${String(at)} ${String(target)}`, text: join(copy) }
      }
      case 3:
        copy.splice(at, 0, copy[other] ?? '')
        return { name: `insert ${String(other)} at ${String(at)}`, text: join(copy) }
      case 4:
        copy.splice(random(copy.length - 1))
        return { name: `cut to ${String(copy.length)} lines`, text: join(copy) }
      case 5: {
        copy[at] = line.replace('"acme"', '"evil"').replace('"time":"2026', '"time":"2027')
        return { name: `edit ${String(at)} and hash anew`, text: rehash(copy) }
      }
      case 6:
        copy.splice(at, 1 + random(3))
        return { name: `delete ${String(at)} and hash anew`, text: rehash(copy) }
      case 7: {
        copy[at] = line.replace('"type":"', '"type":"x')
        const unsigned = copy.filter((text) => !text.includes('"type":"checkpoint"'))
        return { name: `edit ${String(at)}, drop checkpoints, hash anew`, text: rehash(unsigned) }
      }
      default:
        return { name: `bytes cut from the start`, text: whole.slice(1 + random(whole.length - 1)) }
    }
  }

  const join = (copy: readonly string[]): string => copy.map((line) => `${line}\n`).join('')

  test('names the line that was edited', async () => {
    const copy = lines.with(40, (lines[40] ?? '').replace('acme', 'evil'))
    expect(await check(bench, join(copy))).toEqual({
      kind: 'broken',
      fault: 'edited',
      line: 41,
      seq: undefined,
      provedCount: 26,
    })
  })

  test('names the line after one that was removed', async () => {
    expect(await check(bench, join(lines.toSpliced(40, 1)))).toEqual({
      kind: 'broken',
      fault: 'broken_link',
      line: 41,
      seq: 41,
      provedCount: 26,
    })
  })

  test('names the line after one that was edited and hashed anew by itself', async () => {
    const edited = (lines[40] ?? '').replace('acme', 'evil')
    const at = edited.indexOf(',"hash":"')
    const hash = createHash('sha256').update(edited.slice(0, at)).digest('hex')
    const copy = lines.with(40, `${edited.slice(0, at)},"hash":"${hash}"}`)
    expect(await check(bench, join(copy))).toMatchObject({
      fault: 'broken_link',
      line: 42,
      seq: 41,
    })
  })

  test('with a number left out is found out even where the hashes go on', async () => {
    const first = lines[0] ?? ''
    const lastHash = (JSON.parse(first) as { hash: string }).hash
    const next = formatLine({ nextSeq: 2, lastHash }, payloadOf(decision('x'))).text
    const fault = { fault: 'broken_link', line: 2, seq: 2 }
    expect(await check(bench, `${first}\n${next}`)).toMatchObject(fault)
  })

  test('names the next checkpoint when the chain was hashed anew without the key', async () => {
    const copy = lines.with(40, (lines[40] ?? '').replace('acme', 'evil'))
    const nextCheckpoint = lines.findIndex((line, at) => at > 40 && line.includes('checkpoint",'))
    expect(await check(bench, rehash(copy))).toMatchObject({
      fault: 'checkpoint_forged',
      line: nextCheckpoint + 1,
    })
  })

  test('is found out when its checkpoints were dropped, by the number of lines without one', async () => {
    const copy = lines.filter((line) => !line.includes('"type":"checkpoint"'))
    expect(await check(bench, rehash(copy))).toMatchObject({
      fault: 'checkpoint_missing',
      line: 26,
    })
  })

  test('with its end cut off at a line is found out only by a checkpoint that was seen elsewhere', async () => {
    const cut = join(lines.slice(0, 60))
    expect(await check(bench, cut)).toMatchObject({ kind: 'intact' })
    expect(await check(bench, cut, bench.checkpoints)).toMatchObject({ fault: 'anchor_missing' })
  })

  test('replaced by another whole chain is found out by a checkpoint that was seen elsewhere', async () => {
    const other = await filled()
    const result = await verifyAudit(createReadStream(other.file), {
      keys: [...other.keys, ...bench.keys],
      anchors: bench.checkpoints,
    })
    expect(result).toMatchObject({ fault: 'anchor_missing' })
  })

  test('with bytes that a reader of text would show as the same is found out', async () => {
    const crlf = whole.replace('\n', '\r\n')
    expect(await check(bench, crlf)).toMatchObject({ kind: 'broken', line: 1 })
  })

  test('without an end of line is read with bounded memory', async () => {
    let given = 0
    async function* endless(): AsyncGenerator<Buffer> {
      for (;;) {
        given += 1
        yield Buffer.alloc(10_000, 'x')
      }
    }
    const result = await verifyAudit(endless(), { keys: bench.keys })
    expect(result).toMatchObject({ kind: 'broken', fault: 'malformed', line: 1 })
    expect(given).toBeLessThan(10)
  })
})

describe('a line that no writer writes is found out even where its hash is right and nothing follows:', () => {
  /** The line with its text changed, and hashed anew by itself. */
  function edited(line: string, change: (body: string) => string): string {
    const body = line.slice(0, line.indexOf(',"hash":"'))
    const after = change(body)
    expect(after).not.toBe(body)
    return `${after},"hash":"${createHash('sha256').update(after).digest('hex')}"}`
  }

  const signature = /(?<="signature":")[\w-]+/
  /** The last of 86 characters carries four bits that are in no byte. */
  const nextCharacter = (text: string): string =>
    `${text.slice(0, -1)}${{ A: 'B', Q: 'R', g: 'h', w: 'x' }[text.at(-1) ?? ''] ?? ''}`

  test.each<[string, (body: string) => string]>([
    ['one more member', (body) => `${body},"subject":"mallory"`],
    [
      'other members before its own',
      (body) => body.replace('"type"', '"decision":"allow","subject":"mallory","type"'),
    ],
    ['a member twice', (body) => body.replace('"type"', '"type":"decision","type"')],
    ['its members in another order', (body) => body.replace(/("time":"[^"]+"),(.*)$/, '$2,$1')],
    ['a space', (body) => body.replace('"type":', '"type": ')],
    ['an escape that nobody needs', (body) => body.replace('checkpoint', '\\u0063heckpoint')],
    ['a number spelt differently', (body) => body.replace(/"seq":(\d+)/, '"seq":$1.0')],
    ['its signature padded', (body) => body.replace(signature, (text) => `${text}==`)],
    [
      'its signature with bits that are in no byte',
      (body) => body.replace(signature, nextCharacter),
    ],
  ])('a checkpoint with %s', async (_name, change) => {
    const last = edited(lines.at(-1) ?? '', change)
    const result = await check(bench, `${lines.slice(0, -1).join('\n')}\n${last}\n`)
    expect(result).toMatchObject({ kind: 'broken', line: lines.length })
    expect(['malformed', 'checkpoint_forged']).toContain((result as { fault: string }).fault)
    expect(await check(bench, whole, [last])).toMatchObject({ fault: 'anchor_invalid' })
  })

  test.each<[string, (body: string) => string]>([
    ['a member twice', (body) => body.replace('"decision":', '"decision":"deny","decision":')],
    ['a space', (body) => body.replace('"type":', '"type": ')],
    ['text beyond ASCII', (body) => body.replace('acme', 'acm\u00e9')],
  ])('a record with %s', async (_name, change) => {
    const at = lines.findLastIndex((line) => line.includes('"type":"decision"'))
    const copy = [...lines.slice(0, at), edited(lines[at] ?? '', change)]
    expect(await check(bench, Buffer.from(`${copy.join('\n')}\n`))).toMatchObject({
      fault: 'malformed',
      line: at + 1,
    })
  })

  const head = { time: 't', chainId: 'c', key: null, checkpointEvery: 0 }
  test.each<[string, Record<string, unknown>]>([
    [
      'a resume that lacks its key',
      { type: 'resume', time: 't', chainId: 'c', checkpointEvery: 0 },
    ],
    ['a resume with a limit that is no number', { type: 'resume', ...head, checkpointEvery: '0' }],
    ['a resume with one more member', { type: 'resume', ...head, subject: 'mallory' }],
    ['a gap that counts in text', { type: 'gap', time: 't', lostRecords: '-3' }],
    ['a gap of less than nothing', { type: 'gap', time: 't', lostRecords: -3 }],
    ['a checkpoint without a signature', { type: 'checkpoint', time: 't', chainId: 'c', key: 'k' }],
  ])('%s', async (_name, payload) => {
    const { chainId } = JSON.parse(lines[0] ?? '') as { chainId: string }
    const { seq, hash } = JSON.parse(lines.at(-1) ?? '') as { seq: number; hash: string }
    const text = JSON.stringify(payload).replace('"c"', `"${chainId}"`)
    const added = formatLine({ nextSeq: seq + 1, lastHash: hash }, text)
    expect(await check(bench, `${whole}${added.text}`)).toMatchObject({ fault: 'malformed' })
  })
})

describe('a file that proves less than it should', () => {
  test('is told from one that is intact: not a line of it is covered by a checkpoint', async () => {
    const first = lines.findIndex((line) => line.includes('"type":"checkpoint"'))
    for (const count of [1, first]) {
      expect(await check(bench, `${lines.slice(0, count).join('\n')}\n`)).toMatchObject({
        kind: 'unproved',
        lack: 'checkpoint',
        provedCount: 0,
        unprovedCount: count,
      })
    }
    const proved = `${lines.slice(0, first + 1).join('\n')}\n`
    expect(await check(bench, proved)).toMatchObject({ kind: 'intact', provedCount: first + 1 })
  })
})

describe('what is asked of it', () => {
  test('an empty file has no header', async () => {
    expect(await check(bench, '')).toMatchObject({ fault: 'header_missing', line: 1 })
  })

  test('a checkpoint of a key that was not given is a fault, not ignored', async () => {
    const result = await verifyAudit(createReadStream(bench.file), { keys: [makeKeys().verifying] })
    expect(result).toMatchObject({ fault: 'key_unknown', line: 26 })
  })

  test('an anchor that is not a signed line is a fault', async () => {
    expect(await check(bench, whole, ['{"seq":1}'])).toMatchObject({ fault: 'anchor_invalid' })
    expect(await check(bench, whole, [lines[3] ?? ''])).toMatchObject({ fault: 'anchor_invalid' })
  })
})

describe('lines that were added while no process ran', () => {
  test('are counted as adopted, and no later checkpoint proves them', async () => {
    const own = await filled()
    const last = JSON.parse(own.lines().at(-1) ?? '') as { seq: number; hash: string }
    const state = { nextSeq: last.seq + 1, lastHash: last.hash }
    appendFileSync(own.file, formatLine(state, payloadOf(decision('planted'))).text)
    const log = await own.open({ checkpointEveryRecords: 25 })
    await log.append(decision('after'))
    await log.close()
    expect(await own.verify(own.checkpoints)).toMatchObject({
      kind: 'intact',
      adoptedCount: 1,
      unprovedCount: 0,
      provedCount: own.lines().length - 1,
    })
  })

  test('and lines that were removed show by the checkpoints that were seen elsewhere', async () => {
    const own = await filled()
    const kept = own.lines().slice(0, 60)
    truncateSync(own.file)
    writeFileSync(own.file, kept.map((line) => `${line}\n`).join(''))
    const log = await own.open({ checkpointEveryRecords: 25 })
    await log.close()
    expect(await own.verify()).toMatchObject({ kind: 'intact' })
    expect(await own.verify(own.checkpoints)).toMatchObject({ fault: 'anchor_missing' })
  })
})
