import type { Clock } from '../clock.js'
import { DependencyError } from '../errors.js'
import { SpecialFileError } from './append-file.js'
import type { AppendFile } from './append-file.js'
import { FORMAT_VERSION, formatLine, payloadOf } from './chain.js'
import type { ChainState } from './chain.js'
import { signCheckpoint } from './checkpoint.js'
import type { SigningKey } from './checkpoint.js'

export interface ChainFileOptions {
  readonly path: string
  readonly chainId: string
  /** What the next line continues. */
  readonly state: ChainState
  /** Undefined: no checkpoints. */
  readonly signingKey: SigningKey | undefined
  readonly checkpointEvery: number
  readonly clock: Clock
  /** Receives each checkpoint line once it is in the file, without its line feed. Must not throw. */
  readonly onCheckpoint: (line: string) => void
  readonly openFile: (path: string) => Promise<AppendFile>
}

/** The chain in its file. One call at a time: the caller waits for each. */
export interface ChainFile {
  /**
   * Writes the payloads as the next lines, all or none.
   *
   * @param payloads from `payloadOf`
   * @param lostRecords how many were refused since the last write that succeeded
   * @throws DependencyError nothing was written, and what was is taken back before the next write
   */
  write(payloads: readonly string[], lostRecords: number): Promise<void>
  /** The next write ends with a checkpoint, if a line stands after the last one. */
  requestCheckpoint(): void
  /** @throws DependencyError the disk did not take what was written */
  close(): Promise<void>
}

/** Lines that are formatted and not yet written; becomes the state of the chain when they are. */
interface Draft {
  text: string
  state: ChainState
  sinceCheckpoint: number
  readonly checkpoints: string[]
}

export async function openChainFile(options: ChainFileOptions): Promise<ChainFile> {
  const { path, chainId, signingKey, clock } = options
  let file = await options.openFile(path)
  let state = options.state
  let sinceCheckpoint = 0
  let sizeBytes = file.sizeBytes
  let checkpointDue = false
  /** The file lost all that stood in it, and no header says so yet. */
  let truncated = file.sizeBytes === 0 && state.nextSeq > 0
  /** A failed write may have left bytes behind `sizeBytes`. */
  let leftovers = false

  const timeNow = (): string => new Date(clock.nowEpochMs()).toISOString()

  function add(draft: Draft, payload: string): void {
    const line = formatLine(draft.state, payload)
    draft.text += line.text
    draft.state = line.state
    draft.sinceCheckpoint += 1
    if (draft.sinceCheckpoint >= options.checkpointEvery) addCheckpoint(draft)
  }

  function addCheckpoint(draft: Draft): void {
    if (signingKey === undefined || draft.sinceCheckpoint === 0) return
    const checkpoint = signCheckpoint(signingKey, chainId, draft.state, timeNow())
    const line = formatLine(draft.state, payloadOf(checkpoint))
    draft.text += line.text
    draft.state = line.state
    draft.sinceCheckpoint = 0
    draft.checkpoints.push(line.text.trimEnd())
  }

  function addHead(draft: Draft): void {
    const head = {
      time: timeNow(),
      chainId,
      key: signingKey?.id ?? null,
      checkpointEvery: options.checkpointEvery,
    }
    // An empty file begins with a header, whether its chain is new or comes from a file that was moved away.
    if (sizeBytes === 0) {
      const type = truncated ? 'truncation' : 'chain'
      add(draft, payloadOf({ type, format: FORMAT_VERSION, ...head }))
    } else {
      add(draft, payloadOf({ type: 'resume', ...head }))
    }
  }

  /** Makes sure that the file ends where the chain does, whatever happened to it since the last write. */
  async function settle(): Promise<void> {
    const found = await file.look()
    if (found.kind === 'moved') {
      const next = await options.openFile(path)
      if (next.sizeBytes !== 0) {
        await next.close()
        throw new DependencyError('audit', 'another file with content stands at its path')
      }
      // Its lines are in it; what closing it says changes nothing.
      await file.close().catch(() => undefined)
      file = next
      sizeBytes = 0
    } else if (found.sizeBytes === 0) {
      // Copied and truncated, as some log rotations do; or truncated alone.
      if (sizeBytes > 0) truncated = true
      sizeBytes = 0
    } else if (found.sizeBytes > sizeBytes && leftovers) {
      await file.truncate(sizeBytes)
    } else if (found.sizeBytes !== sizeBytes) {
      // Going on would either bury the evidence or glue a line to a foreign one.
      throw new DependencyError('audit', 'somebody else changed the file: move it away')
    }
    leftovers = false
  }

  async function writeDraft(draft: Draft): Promise<void> {
    const bytes = Buffer.from(draft.text, 'latin1')
    let written = 0
    try {
      while (written < bytes.length) written += await file.append(bytes.subarray(written))
    } catch (error) {
      leftovers = true
      await file.truncate(sizeBytes).then(
        () => (leftovers = false),
        () => undefined,
      )
      throw error
    }
    sizeBytes += bytes.length
    truncated = false
    state = draft.state
    sinceCheckpoint = draft.sinceCheckpoint
    for (const line of draft.checkpoints) options.onCheckpoint(line)
  }

  const newDraft = (): Draft => ({ text: '', state, sinceCheckpoint, checkpoints: [] })

  const chainFile: ChainFile = {
    async write(payloads, lostRecords) {
      try {
        await settle()
        const draft = newDraft()
        if (sizeBytes === 0) addHead(draft)
        if (lostRecords > 0) {
          add(draft, payloadOf({ type: 'gap', time: timeNow(), lostRecords }))
        }
        for (const payload of payloads) add(draft, payload)
        if (checkpointDue) addCheckpoint(draft)
        if (draft.text !== '') await writeDraft(draft)
        checkpointDue = false
      } catch (error) {
        throw asDependencyError(error)
      }
    },
    requestCheckpoint() {
      checkpointDue = true
    },
    async close() {
      try {
        await file.sync()
      } catch (error) {
        throw asDependencyError(error)
      } finally {
        await file.close()
      }
    },
  }

  const first = newDraft()
  addHead(first)
  try {
    await writeDraft(first)
  } catch (error) {
    await file.close()
    throw error
  }
  return chainFile
}

function asDependencyError(error: unknown): DependencyError {
  if (error instanceof DependencyError) return error
  return new DependencyError('audit', `the audit file could not be written (${reasonOf(error)})`, {
    cause: error,
  })
}

/** The message of `node:fs` would hold the path. */
function reasonOf(error: unknown): string {
  if (error instanceof SpecialFileError) return error.message
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
}
