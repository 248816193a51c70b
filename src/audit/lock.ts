import { randomBytes } from 'node:crypto'
import { link, lstat, rename, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { Server } from 'node:net'
import { absent } from './append-file.js'

/** Held until `release`, or until the process ends in whatever way. */
export interface FileLock {
  readonly release: () => Promise<void>
}

/** The path of a Unix socket has 108 bytes with its NUL on Linux, 104 on macOS. */
const MAX_SOCKET_PATH_BYTES = 103

/**
 * Makes sure that one process alone writes a file: listens on a Unix socket beside it.
 *
 * Node has no flock. A file with a process id says nothing across containers that share a volume, and after a
 * SIGKILL the restarted process often has the very same id; that a socket has a listener is known by the kernel
 * and ends with the process.
 *
 * @param path of the file to lock; the socket is `<path>.lock`
 * @returns `held` when another process has it
 * @throws Error of `node:net` or `node:fs`: no such directory, no permission, no sockets on this file system
 */
export async function lockFile(path: string): Promise<FileLock | 'held'> {
  const socketPath = `${path}.lock`
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES) {
    throw new Error(
      `the path is longer than ${String(MAX_SOCKET_PATH_BYTES - '.lock'.length)} bytes`,
    )
  }
  const server = createServer((socket) => socket.destroy())
  if (!(await listen(server, socketPath))) {
    const found = await identify(socketPath)
    if (await hasListener(socketPath)) return 'held'
    if (!(await removeDead(socketPath, found))) return 'held'
    if (!(await listen(server, socketPath))) return 'held'
  }
  server.unref()
  return {
    // Closing a listening Unix socket removes its file.
    release: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

/** Inode numbers are used again at once, so the time of creation belongs to it. */
async function identify(path: string): Promise<string | undefined> {
  const found = await lstat(path, { bigint: true }).catch(absent)
  if (found === undefined) return undefined
  if (!found.isSocket()) throw new Error(`${path} is in the way: it is no lock of this program`)
  return `${String(found.ino)}:${String(found.mtimeNs)}`
}

/**
 * Removes the socket that was found dead, and no other: of several processes that found it, one may hold the
 * lock by now. So it is moved aside first, looked at, and put back if it is another's.
 */
async function removeDead(path: string, found: string | undefined): Promise<boolean> {
  const aside = `${path}.${randomBytes(6).toString('hex')}`
  // When it is gone somebody else removed it: whoever listens first has the lock.
  if ((await rename(path, aside).then(() => aside, absent)) === undefined) return true
  const mine = (await identify(aside)) === found
  if (!mine) await link(aside, path)
  await rm(aside)
  return mine
}

/** @returns false when something stands at the path already */
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

/** Only a refused or missing socket is dead; whatever else happens counts as held. */
function hasListener(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT')
    })
  })
}
