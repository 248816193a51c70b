import { MAX_LINE_BYTES } from './chain.js'
import type { VerifyingKey } from './checkpoint.js'
import { followChain } from './follow-chain.js'
import type { VerifyResult } from './verify-result.js'

export interface VerifyOptions {
  readonly keys: readonly VerifyingKey[]
  /** Checkpoint lines from elsewhere (standard output): only they show that the end of a file was cut off. */
  readonly anchors?: readonly string[]
  /** The first file is a later one of its chain, and the caller knows that the earlier ones are not given. */
  readonly continues?: boolean
  /** Called after each chunk. */
  readonly onProgress?: (progress: { readonly bytes: number; readonly lineCount: number }) => void
}

/**
 * Checks an audit file, or several of one chain in their order, whole. Memory is bounded by one chunk and one line.
 *
 * @param chunks the bytes as read, as from `createReadStream`; bytes and not lines, since a reader of lines
 *   hides an added carriage return and invalid UTF-8
 */
export async function verifyAudit(
  chunks: AsyncIterable<Uint8Array>,
  options: VerifyOptions,
): Promise<VerifyResult> {
  const follow = followChain(options.keys, options.anchors ?? [], options.continues ?? false)
  let rest: Buffer = Buffer.alloc(0)
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.length
    const view = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
    const buffer = rest.length === 0 ? view : Buffer.concat([rest, view])
    let from = 0
    for (let end = buffer.indexOf(10); end !== -1; end = buffer.indexOf(10, from)) {
      const broken = follow.line(buffer.subarray(from, end))
      if (broken !== undefined) return broken
      from = end + 1
    }
    // Copied: the stream may use the chunk's memory again.
    rest = Buffer.from(buffer.subarray(from))
    if (rest.length > MAX_LINE_BYTES) return follow.broken('malformed', undefined)
    options.onProgress?.({ bytes, lineCount: follow.lineCount() })
  }
  return follow.end(rest.length)
}
