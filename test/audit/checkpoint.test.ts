import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { GENESIS_HASH } from '../../src/audit/chain.js'
import type { ChainCheckpoint } from '../../src/audit/chain.js'
import {
  checkCheckpoint,
  readSigningKey,
  readVerifyingKey,
  signCheckpoint,
} from '../../src/audit/checkpoint.js'
import { makeKeys } from './audit-fixture.js'

const { keyFile, verifying } = makeKeys()
const signing = readSigningKey(readFileSync(keyFile, 'utf8'))
const state = { nextSeq: 7, lastHash: 'ab'.repeat(32) }
const time = '2026-05-28T10:00:00.000Z'

function check(changes: Partial<ChainCheckpoint> = {}, place = state, keys = [verifying]): string {
  const checkpoint = { ...signCheckpoint(signing, 'chain-1', state, time), ...changes }
  return checkCheckpoint(checkpoint, { seq: place.nextSeq, prev: place.lastHash }, keys)
}

describe('a checkpoint', () => {
  test('is valid in its place', () => {
    expect(check()).toBe('valid')
  })

  test.each([
    ['another place', check({}, { ...state, nextSeq: 8 })],
    ['another line before it', check({}, { ...state, lastHash: GENESIS_HASH })],
    ['another chain', check({ chainId: 'chain-2' })],
    ['another time', check({ time: '2026-05-28T10:00:00.001Z' })],
    ['no signature', check({ signature: '' })],
  ])('is forged: %s', (_name, result) => {
    expect(result).toBe('forged')
  })

  test('of a key that was not given says so', () => {
    expect(check({}, state, [makeKeys().verifying])).toBe('key_unknown')
  })

  test('that names a key but is signed by another is forged', () => {
    const { id } = makeKeys().verifying
    expect(check({ key: id }, state, [{ ...verifying, id }])).toBe('forged')
  })
})

describe('a key', () => {
  test('has the same id in both halves', () => {
    expect(verifying.id).toBe(signing.id)
    expect(verifying.id).toMatch(/^[0-9a-f]{16}$/)
    expect(makeKeys().verifying.id).not.toBe(signing.id)
  })

  test.each([
    ['nothing', ''],
    ['text', 'canary-secret'],
    ['a broken key', '-----BEGIN PRIVATE KEY-----\ncanary-secret\n-----END PRIVATE KEY-----\n'],
    ['a key of another kind', ecKey()],
  ])('is refused without a word of it: %s', (_name, pem) => {
    expect(() => readSigningKey(pem)).toThrow(/^not an Ed25519 private key in PEM form$/)
  })

  test('of whoever verifies may not be the private one', () => {
    expect(() => readVerifyingKey(readFileSync(keyFile, 'utf8'))).toThrow(
      'a public key is needed, not the private one',
    )
  })
})

function ecKey(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}
