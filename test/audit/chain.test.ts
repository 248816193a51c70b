import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { formatLine, GENESIS_HASH, MAX_LINE_BYTES, payloadOf } from '../../src/audit/chain.js'
import { readLine } from '../../src/audit/read-line.js'
import { decision } from './audit-fixture.js'

const start = { nextSeq: 0, lastHash: GENESIS_HASH }

function lineOf(payload: string): Buffer {
  return Buffer.from(formatLine(start, payload).text.trimEnd())
}

describe('a line', () => {
  test('carries the SHA-256 of its own bytes before the hash', () => {
    const line = lineOf(payloadOf(decision('a'))).toString()
    const at = line.indexOf(',"hash":"')
    const expected = createHash('sha256').update(line.slice(0, at)).digest('hex')
    expect(JSON.parse(line)).toMatchObject({ seq: 0, prev: GENESIS_HASH, hash: expected })
  })

  test('names the hash of the line before it', () => {
    const first = formatLine(start, payloadOf(decision('a')))
    const second = formatLine(first.state, payloadOf(decision('b')))
    const hash = (JSON.parse(first.text) as { hash: string }).hash
    expect(JSON.parse(second.text)).toMatchObject({ seq: 1, prev: hash })
  })

  test('is one line of printable ASCII whatever the record holds, and reads back the same', () => {
    const tenant = 'a\r\nb\u0000\u001b[2J\u007f\u0085\u2028\u2029\u00e9\u{1f600}\ud800"\\'
    const line = lineOf(payloadOf({ ...decision('a'), tenant }))
    expect(line.toString('latin1')).toMatch(/^[\x20-\x7e]+$/)
    expect(JSON.parse(line.toString('latin1'))).toMatchObject({ tenant })
    expect(readLine(line)).toMatchObject({ seq: 0 })
  })

  test('of a record is read with its place and its hash', () => {
    const { text, state } = formatLine(start, payloadOf(decision('a')))
    const line = readLine(Buffer.from(text.trimEnd()))
    expect(line).toEqual({ seq: 0, prev: GENESIS_HASH, hash: state.lastHash, own: undefined })
  })

  test("of the chain's own is read with what it says", () => {
    const gap = { type: 'gap', time: 't', lostRecords: 3 } as const
    expect(readLine(lineOf(payloadOf(gap)))).toMatchObject({ seq: 0, own: gap })
  })

  test('reads back whatever the labels of a route are', () => {
    const context = JSON.parse('{"__proto__":"a","constructor":"b","10":"c","2":"d","":"e"}') as {
      readonly [name: string]: string
    }
    const line = lineOf(payloadOf({ ...decision('a'), context }))
    expect(line.toString()).toContain('"__proto__":"a"')
    expect(readLine(line)).toMatchObject({ seq: 0 })
  })

  test('is edited when any one byte of it is another', () => {
    const line = lineOf(payloadOf(decision('a')))
    for (let at = 0; at < line.length; at += 1) {
      const changed = Buffer.from(line)
      changed.writeUInt8((line.readUInt8(at) + 1) % 256, at)
      expect(['edited', 'malformed']).toContain(readLine(changed))
    }
  })

  test.each([
    ['nothing', ''],
    ['no JSON', 'hello'],
    ['only the suffix', `,"hash":"${'0'.repeat(64)}"}`],
    ['a trailing carriage return', `${lineOf(payloadOf(decision('a'))).toString()}\r`],
  ])('is malformed: %s', (_name, text) => {
    expect(readLine(Buffer.from(text))).toBe('malformed')
  })

  test.each([
    ['an array', '[1]'],
    ['no place', '{"a":1}'],
    ['a place that is no whole number', '{"seq":1.5,"prev":""}'],
    ['a place before the first', '{"seq":-1,"prev":"","type":"end"}'],
    ['broken JSON', '{"seq":1,"prev":"",}'],
    ['no type', '{"seq":1,"prev":"","auditId":"a"}'],
    ['a type that is none', '{"seq":1,"prev":"","type":"toString"}'],
    ['another hash before its own', '{"seq":1,"prev":"","type":"end","hash":"a"}'],
    ['its place at the end', '{"type":"end","seq":1,"prev":""}'],
  ])('is malformed even with a right hash: %s', (_name, object) => {
    const body = object.slice(0, -1)
    const hash = createHash('sha256').update(body).digest('hex')
    expect(readLine(Buffer.from(`${body},"hash":"${hash}"}`))).toBe('malformed')
  })

  test('is no failure of the reader, however deep it goes', () => {
    const deep = `${'['.repeat(32_000)}${']'.repeat(32_000)}`
    expect(() => readLine(lineOf(`{"type":"end","deep":${deep}}`))).not.toThrow()
  })

  test('is malformed when it is longer than a line may be', () => {
    const line = lineOf(payloadOf({ ...decision('a'), detail: 'x'.repeat(MAX_LINE_BYTES) }))
    expect(readLine(line)).toBe('malformed')
  })
})
