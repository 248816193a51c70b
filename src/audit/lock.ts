import { lstat, readdir, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Server } from 'node:net'
import { basename, dirname } from 'node:path'
import { absent } from './append-file.js'
import { listenerAt } from '../unix-socket.js'

/** Held until `release`, or until the process ends in whatever way. */
export interface FileLock {
  readonly release: () => Promise<void>
}

/** The path of a Unix socket has 108 bytes with its NUL on Linux, 104 on macOS. */
const MAX_SOCKET_PATH_BYTES = 103
const MAX_FILE_PATH_BYTES = MAX_SOCKET_PATH_BYTES - '.lock.'.length - 6

/**
 * Makes sure that one process alone writes a file: listens on a Unix socket beside it.
 *
 * Node has no flock. A file with a process id says nothing across containers that share a volume, and after a
 * SIGKILL the restarted process often has the very same id; that a socket has a listener is known by the kernel
 * and ends with the process.
 *
 * A dead socket must be removed before its name can be used again, and between a look at a name and its removal
 * it can become another's. So no name is taken over: sockets are numbered, whoever finds dead ones listens on the
 * next number, and only then looks whether it is alone. Of two that overlap the later one sees the earlier, since
 * each listens before it looks; at worst both give way.
 *
 * @param path of the file to lock; the sockets are `<path>.lock.<number>`
 * @returns `held` when another process has it
 * @throws Error of `node:net` or `node:fs`: no such directory, no permission, no sockets on this file system
 */
export async function lockFile(path: string): Promise<FileLock | 'held'> {
  if (Buffer.byteLength(path) > MAX_FILE_PATH_BYTES) {
    throw new Error(`the path is longer than ${String(MAX_FILE_PATH_BYTES)} bytes`)
  }
  const before = await findSockets(path)
  for (const number of before) {
    if (await hasListener(socketPath(path, number))) return 'held'
  }
  const own = Math.max(0, ...before) + 1
  const server = createServer((socket) => socket.destroy())
  if (!(await listen(server, socketPath(path, own)))) return 'held'
  const lock = { release: () => close(server) }
  try {
    const others = (await findSockets(path)).filter((number) => number !== own)
    for (const number of others) {
      if (await hasListener(socketPath(path, number))) {
        await lock.release()
        return 'held'
      }
      await rm(socketPath(path, number), { force: true })
    }
  } catch (error) {
    await lock.release()
    throw error
  }
  server.unref()
  return lock
}

function socketPath(path: string, number: number): string {
  return `${path}.lock.${String(number)}`
}

/** The numbers of the sockets that stand beside the file, of living and dead processes. */
async function findSockets(path: string): Promise<readonly number[]> {
  const prefix = `${basename(path)}.lock.`
  const names = await readdir(dirname(path))
  return names
    .filter(
      (name) => name.startsWith(prefix) && /^[1-9][0-9]{0,5}$/.test(name.slice(prefix.length)),
    )
    .map((name) => Number(name.slice(prefix.length)))
}

/** @returns false when something stands at the path already: somebody was quicker */
function listen(server: Server, path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      if (error.code === 'EADDRINUSE') resolve(false)
      else reject(error)
    }
    server.once('error', onError)
    server.listen({ path }, () => {
      server.off('error', onError)
      resolve(true)
    })
  })
}

/** Closing a listening Unix socket removes its file. */
function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve()
    })
  })
}

/**
 * Whatever is not known to be dead counts as alive.
 *
 * @throws Error what stands there is no socket: not ours to remove
 */
async function hasListener(path: string): Promise<boolean> {
  const found = await lstat(path).catch(absent)
  if (found === undefined) return false
  if (!found.isSocket()) throw new Error(`${path} is in the way: it is no lock of this program`)
  return (await listenerAt(path)) !== 'nobody'
}
