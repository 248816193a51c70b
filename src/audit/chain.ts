import { hash } from 'node:crypto'
import type { AuditRecord } from './record.js'

/**
 * The line format, one JSON object a line, ASCII only:
 *
 *     {"seq":7,"prev":"<hash of line 6>","type":"decision", ... ,"hash":"<hash>"}
 *
 * `hash` is the SHA-256, in hex, of the bytes of the line before `,"hash":`. What is hashed is what is
 * written, so one line can be checked with `sha256sum` alone.
 * `prev` links it to the line before; every file begins with a `chain` or a `truncation` line, a new chain with
 * `seq` 0.
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
 * Begins a file in place of a `chain` line, where the running process found its file cut to nothing. What stood in it
 * is gone, unless somebody kept a copy: a file that was moved away is not.
 */
export type ChainTruncation = Omit<ChainHeader, 'type'> & { readonly type: 'truncation' }

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
export type ChainEntry =
  AuditRecord | ChainHeader | ChainTruncation | ChainResume | ChainGap | ChainCheckpoint

// DEL, C1 controls, line separators and everything else beyond ASCII: a terminal or a line reader that gives
// them a meaning shows another line than the one that was hashed.
const beyondAscii = /[\u007f-\uffff]/g

/** JSON of printable ASCII alone. */
export function asciiJson(value: object): string {
  return JSON.stringify(value).replace(
    beyondAscii,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** The JSON object of an entry; `formatLine` gives it a place. */
export function payloadOf(entry: ChainEntry): string {
  return asciiJson(entry)
}

/** What of a line is hashed. */
export function lineBody(state: ChainState, payload: string): string {
  return `{"seq":${String(state.nextSeq)},"prev":"${state.lastHash}",${payload.slice(1, -1)}`
}

/** What of a line comes after its body. */
export function lineSuffix(ownHash: string): string {
  return `,"hash":"${ownHash}"}`
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
  const body = lineBody(state, payload)
  const lastHash = hash('sha256', body, 'hex')
  return {
    text: `${body}${lineSuffix(lastHash)}\n`,
    state: { nextSeq: state.nextSeq + 1, lastHash },
  }
}
