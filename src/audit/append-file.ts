import { open, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'

/** What stands at the path now. */
export type PathState =
  | { readonly kind: 'same'; readonly sizeBytes: number }
  /** Another file, or none: ours was renamed or removed. */
  | { readonly kind: 'moved' }

/** One file that only grows; the seam at which tests let a disk fail. */
export interface AppendFile {
  /** When it was opened. */
  readonly sizeBytes: number
  /** @returns how many bytes were taken, at least 1 and maybe fewer than given */
  append(bytes: Uint8Array): Promise<number>
  /** Takes back what a failed write left behind. */
  truncate(sizeBytes: number): Promise<void>
  look(): Promise<PathState>
  /** To the disk itself. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** What stands at the path can be no audit file. */
export class SpecialFileError extends Error {
  constructor() {
    super('not a regular file')
    this.name = 'SpecialFileError'
  }
}

/**
 * Opens the file for appending, or creates it readable by its owner alone.
 *
 * @throws SpecialFileError
 * @throws Error of `node:fs`
 */
export async function openAppendFile(path: string): Promise<AppendFile> {
  await refuseSpecialFile(path)
  const handle = await open(path, 'a', 0o600)
  try {
    return await wrap(path, handle)
  } catch (error) {
    await handle.close()
    throw error
  }
}

/**
 * Opening a pipe would wait for its other end, and a device cannot be truncated.
 *
 * @throws SpecialFileError
 */
export async function refuseSpecialFile(path: string): Promise<void> {
  const found = await stat(path).catch(absent)
  if (found !== undefined && !found.isFile()) throw new SpecialFileError()
}

/** Turns the error that says that there is no such file into undefined. */
export function absent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
  throw error
}

async function wrap(path: string, handle: FileHandle): Promise<AppendFile> {
  const { dev, ino, size } = await handle.stat()
  return {
    sizeBytes: size,
    append: async (bytes) => (await handle.write(bytes)).bytesWritten,
    truncate: (sizeBytes) => handle.truncate(sizeBytes),
    async look() {
      const found = await stat(path).catch(absent)
      const same = found !== undefined && found.dev === dev && found.ino === ino
      return same ? { kind: 'same', sizeBytes: found.size } : { kind: 'moved' }
    },
    sync: () => handle.datasync(),
    close: () => handle.close(),
  }
}
