import { lstatSync, rmSync } from 'node:fs'
import { listenerAt } from './unix-socket.js'

/**
 * A socket file that a killed process left behind would make the bind fail for ever. It is removed only if nobody
 * listens on it: two processes must not take the socket from each other.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new Error(`${path} exists and is not a socket`)
  const listener = await listenerAt(path)
  if (listener === 'somebody') throw new Error(`another process listens on ${path}`)
  if (listener !== 'nobody') {
    throw new Error(`cannot tell whether another process listens on ${path}: ${listener.unknown}`)
  }
  rmSync(path, { force: true })
}
