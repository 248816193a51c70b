import { hash } from 'node:crypto'
import type { AuditRecord } from './record.js'

/**
 * The line format, one JSON object a line, ASCII only:
 *
 *     {"seq":7,"prev":"<hash of line 6>","type":"decision", ... ,"hash":"<hash>"}
 *
 * `hash` is the SHA-256, in hex, of the bytes of the line before `,"hash":`. What is hashed is what is
 * written, so no canonical form of JSON is needed, and one line can be checked with `sha256sum` alone.
 * `prev` links it to the line before; every file begins with a `chain` line, a new chain with `seq` 0.
 */
export const FORMAT_VERSION = 1

/** A longer line is never written, so a reader needs no more memory for one. */
export const MAX_LINE_BYTES = 65_536

/** `prev` of the very first line of a chain. */
export const GENESIS_HASH = '0'.repeat(64)

/** Where a chain stands: what the next line continues. */
export interface ChainState {
  /** Of the next line. */
  readonly nextSeq: number
  /** Of the last line, 64 hex digits. */
  readonly lastHash: string
}

/** Begins a file: a new chain (`seq` 0), or the next file of one whose last file was moved away. */
export interface ChainHeader {
  readonly type: 'chain'
  readonly time: string
  readonly format: number
  /** 128 random bits, base64url: a signature of one chain proves nothing about another. */
  readonly chainId: string
  /** Id of the key that signs checkpoints; null: nothing is signed. */
  readonly key: string | null
  /** At most so many lines stand between two checkpoints. */
  readonly checkpointEvery: number
}

/**
 * A process found the chain and continues it. What stands between the last checkpoint and this line could have
 * been written by anybody while no process ran, so later checkpoints do not prove it.
 */
export type ChainResume = Omit<ChainHeader, 'type' | 'format'> & { readonly type: 'resume' }

/** Records that were refused because they could not be written, since the line before. */
export interface ChainGap {
  readonly type: 'gap'
  readonly time: string
  readonly lostRecords: number
}

/** Signed: proves every line before it. See `checkpoint.ts`. */
export interface ChainCheckpoint {
  readonly type: 'checkpoint'
  readonly time: string
  readonly chainId: string
  readonly key: string
  /** Ed25519, base64url. */
  readonly signature: string
}

/** Everything that can be a line. */
export type ChainEntry = AuditRecord | ChainHeader | ChainResume | ChainGap | ChainCheckpoint

/** A line as read back: its place is checked by the caller, its own hash already was. */
export interface ChainLine {
  readonly seq: number
  readonly prev: string
  readonly hash: string
  /** The whole object, not validated further. */
  readonly fields: Readonly<Record<string, unknown>>
}

const HASH_KEY = ',"hash":"'
const HASH_END = '"}'
const SUFFIX_BYTES = HASH_KEY.length + 64 + HASH_END.length

// DEL, C1 controls, line separators and everything else beyond ASCII: a terminal or a line reader that gives
// them a meaning shows another line than the one that was hashed.
const beyondAscii = /[\u007f-\uffff]/g

/** The JSON object of an entry, ASCII only; `formatLine` gives it a place. */
export function payloadOf(entry: ChainEntry): string {
  return JSON.stringify(entry).replace(
    beyondAscii,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/**
 * The next line of the chain, with its line feed.
 *
 * @param payload a JSON object with at least one member, from `payloadOf`
 */
export function formatLine(
  state: ChainState,
  payload: string,
): { readonly text: string; readonly state: ChainState } {
  const body = `{"seq":${String(state.nextSeq)},"prev":"${state.lastHash}",${payload.slice(1, -1)}`
  const lastHash = hash('sha256', body, 'hex')
  return {
    text: `${body}${HASH_KEY}${lastHash}${HASH_END}\n`,
    state: { nextSeq: state.nextSeq + 1, lastHash },
  }
}

/**
 * Reads one line, without its line feed.
 *
 * @returns `malformed` when it is no line of this format, `edited` when its hash is not that of its bytes
 */
export function readLine(line: Buffer): ChainLine | 'malformed' | 'edited' {
  if (line.length > MAX_LINE_BYTES) return 'malformed'
  const bodyEnd = line.length - SUFFIX_BYTES
  if (bodyEnd < 1) return 'malformed'
  const suffix = line.toString('latin1', bodyEnd)
  if (!suffix.startsWith(HASH_KEY) || !suffix.endsWith(HASH_END)) return 'malformed'
  const stated = suffix.slice(HASH_KEY.length, -HASH_END.length)
  if (hash('sha256', line.subarray(0, bodyEnd), 'hex') !== stated) return 'edited'
  const fields = parseObject(line)
  if (fields === undefined) return 'malformed'
  const { seq, prev } = fields
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || typeof prev !== 'string') {
    return 'malformed'
  }
  return { seq, prev, hash: stated, fields }
}

function parseObject(line: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'))
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return value as Readonly<Record<string, unknown>>
  } catch {
    return undefined
  }
}
