import { hash } from 'node:crypto'
import { asciiJson, GENESIS_HASH, lineBody, lineSuffix, MAX_LINE_BYTES } from './chain.js'
import type { ChainEntry, ChainHeader, ChainTruncation } from './chain.js'
import type { AuditRecord } from './record.js'

/** What the chain says of itself, not of a request or the process. */
export type OwnEntry = Exclude<ChainEntry, AuditRecord>

/** A line as read back: its place is checked by the caller, its form and its own hash already were. */
export interface ChainLine {
  readonly seq: number
  readonly prev: string
  readonly hash: string
  /** Undefined: a record, whose members mean nothing to the chain. */
  readonly own: OwnEntry | undefined
}

/** Does it begin a file? */
export function isHeader(own: OwnEntry | undefined): own is ChainHeader | ChainTruncation {
  return own?.type === 'chain' || own?.type === 'truncation'
}

const HASH_LENGTH = 64
const SUFFIX_LENGTH = lineSuffix(GENESIS_HASH).length
const HASH_OFFSET = lineSuffix('').indexOf('""') + 1 - SUFFIX_LENGTH

/**
 * Reads one line, without its line feed.
 *
 * Only what the writer would write is a line, byte for byte: otherwise one could say two things (a member twice), or
 * more than its signature covers.
 *
 * @returns `malformed` when it is no line of this format, `edited` when its hash is not that of its bytes
 */
export function readLine(line: Buffer): ChainLine | 'malformed' | 'edited' {
  if (line.length > MAX_LINE_BYTES || line.length <= SUFFIX_LENGTH) return 'malformed'
  // Bytes beyond ASCII become other characters, which are written escaped: the comparison below refuses them.
  const text = line.toString('latin1')
  const body = text.slice(0, -SUFFIX_LENGTH)
  const stated = text.slice(HASH_OFFSET, HASH_OFFSET + HASH_LENGTH)
  if (text !== body + lineSuffix(stated)) return 'malformed'
  if (hash('sha256', line.subarray(0, body.length), 'hex') !== stated) return 'edited'
  const fields = parseObject(text)
  if (fields === undefined) return 'malformed'
  const { seq, prev } = fields
  if (!isCount(seq) || !isText(prev)) return 'malformed'
  // Between those two and the hash, which the suffix says; in any other order the comparison refuses it.
  const payload = Object.fromEntries(Object.entries(fields).slice(2, -1))
  const rewritten = jsonOf(payload)
  if (rewritten === undefined || lineBody({ nextSeq: seq, lastHash: prev }, rewritten) !== body) {
    return 'malformed'
  }
  const own = readOwn(payload)
  return own === 'malformed' ? own : { seq, prev, hash: stated, own }
}

type Fields = Readonly<Record<string, unknown>>

function parseObject(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return value as Fields
  } catch {
    return undefined
  }
}

/** Undefined: nested deeper than can be written. */
function jsonOf(payload: Fields): string | undefined {
  try {
    return asciiJson(payload)
  } catch {
    return undefined
  }
}

type Fits = (value: unknown) => boolean

const isText = (value: unknown): value is string => typeof value === 'string'
const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0

const headMembers = {
  time: isText,
  chainId: isText,
  key: (value: unknown) => value === null || isText(value),
  checkpointEvery: isCount,
}

/** The members of each entry after its type, in the order in which they are written. */
const ownMembers: {
  readonly [Type in OwnEntry['type']]: Readonly<
    Record<Exclude<keyof Extract<OwnEntry, { readonly type: Type }>, 'type'>, Fits>
  >
} = {
  chain: { format: isCount, ...headMembers },
  truncation: { format: isCount, ...headMembers },
  resume: headMembers,
  gap: { time: isText, lostRecords: isCount },
  checkpoint: { time: isText, chainId: isText, key: isText, signature: isText },
}

const recordTypes: Readonly<Record<AuditRecord['type'], true>> = {
  decision: true,
  end: true,
  lifecycle: true,
}

/** The chain trusts what its own entries say, so each has exactly its members. */
function readOwn(payload: Fields): OwnEntry | undefined | 'malformed' {
  const { type } = payload
  if (!isText(type)) return 'malformed'
  if (Object.hasOwn(recordTypes, type)) return undefined
  if (!Object.hasOwn(ownMembers, type)) return 'malformed'
  const members = Object.entries<Fits>(ownMembers[type as OwnEntry['type']])
  const names = Object.keys(payload)
  // One name more than these, and its type is among them: it is the first.
  const exact =
    names.length === members.length + 1 &&
    members.every(([name, fits], at) => names[at + 1] === name && fits(payload[name]))
  // `exact` was found member by member, in a table that the compiler holds to `OwnEntry` but cannot read back.
  return exact ? (payload as unknown as OwnEntry) : 'malformed'
}
