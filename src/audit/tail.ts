import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { MIB_BYTES } from '../units.js'
import { refuseSpecialFile } from './append-file.js'
import { FORMAT_VERSION, GENESIS_HASH, MAX_LINE_BYTES } from './chain.js'
import type { ChainState } from './chain.js'
import { isHeader, readLine } from './read-line.js'
import type { ChainLine } from './read-line.js'

/** What an audit file holds at its end. */
export interface Tail {
  /** Undefined: no complete line; a new chain begins. */
  readonly chain: { readonly chainId: string; readonly state: ChainState } | undefined
  /** Up to the last line feed. */
  readonly goodBytes: number
  /** After it: the line that a crash cut off. */
  readonly tornBytes: number
}

/** The end of the file is no chain that could be continued; the message says why. */
export class TailError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'TailError'
  }
}

const WINDOW_BYTES = MIB_BYTES

/**
 * Reads the first line and the last mebibyte of an audit file, and checks the links between the lines in it.
 *
 * @throws SpecialFileError
 * @throws TailError it is not an audit file, or its last lines were changed
 */
export async function readTail(path: string): Promise<Tail> {
  await refuseSpecialFile(path)
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    const windowStart = Math.max(0, size - WINDOW_BYTES)
    const window = await readRange(handle, windowStart, size)
    const goodBytes = windowStart + window.lastIndexOf(10) + 1
    const tornBytes = size - goodBytes
    // Both numbers are equal when there is no line feed in the window.
    if (goodBytes === windowStart) {
      if (windowStart > 0 || !mayBeTornHeader(window)) throw new TailError('it is no audit file')
      return { chain: undefined, goodBytes: 0, tornBytes }
    }
    if (tornBytes > MAX_LINE_BYTES) throw new TailError('its last line is too long')
    const chainId = readChainId(await readRange(handle, 0, Math.min(size, MAX_LINE_BYTES + 1)))
    const last = checkLines(window.subarray(0, goodBytes - windowStart), windowStart > 0)
    return {
      chain: { chainId, state: { nextSeq: last.seq + 1, lastHash: last.hash } },
      goodBytes,
      tornBytes,
    }
  } finally {
    await handle.close()
  }
}

async function readRange(handle: FileHandle, start: number, end: number): Promise<Buffer> {
  const buffer = Buffer.alloc(end - start)
  let filled = 0
  while (filled < buffer.length) {
    const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, start + filled)
    if (bytesRead === 0) throw new TailError('it became shorter while it was read')
    filled += bytesRead
  }
  return buffer
}

/** A torn first line is cut away, so it must be ours: the path may have been mistyped. */
function mayBeTornHeader(bytes: Buffer): boolean {
  const start = Buffer.from(`{"seq":0,"prev":"${GENESIS_HASH}","type":"chain",`)
  const compared = Math.min(start.length, bytes.length)
  return (
    bytes.length <= MAX_LINE_BYTES &&
    bytes.subarray(0, compared).equals(start.subarray(0, compared))
  )
}

function readChainId(head: Buffer): string {
  const end = head.indexOf(10)
  const line = end === -1 ? 'malformed' : readLine(head.subarray(0, end))
  if (typeof line === 'string' || !isHeader(line.own)) {
    throw new TailError('its first line is not that of an audit file')
  }
  if (line.own.format !== FORMAT_VERSION) throw new TailError('it has another format version')
  return line.own.chainId
}

function checkLines(bytes: Buffer, beginsWithinLine: boolean): ChainLine {
  let last: ChainLine | undefined
  let from = beginsWithinLine ? bytes.indexOf(10) + 1 : 0
  for (let end = bytes.indexOf(10, from); end !== -1; end = bytes.indexOf(10, from)) {
    const line = readLine(bytes.subarray(from, end))
    if (typeof line === 'string') throw new TailError(`one of its last lines is ${line}`)
    if (last !== undefined && (line.seq !== last.seq + 1 || line.prev !== last.hash)) {
      throw new TailError(`line ${String(line.seq)} does not continue the one before it`)
    }
    last = line
    from = end + 1
  }
  if (last === undefined) throw new TailError('it has no complete line at its end')
  return last
}
