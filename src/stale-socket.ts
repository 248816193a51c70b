import { lstatSync, rmSync } from 'node:fs'
import { connect } from 'node:net'

/**
 * A socket file that a killed process left behind would make the bind fail for ever. It is removed only if nobody
 * listens on it: two processes must not take the socket from each other.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) throw new Error(`${path} exists and is not a socket`)
  const refusal = await connectError(path)
  if (refusal === undefined) throw new Error(`another process listens on ${path}`)
  if (refusal === 'ENOENT') return
  // Whoever is too busy to accept (EAGAIN) or not ours to ask (EACCES) may well be there.
  if (refusal !== 'ECONNREFUSED')
    throw new Error(`cannot tell whether another process listens on ${path}: ${refusal}`)
  rmSync(path, { force: true })
}

/** The code of the error that a connection ends with, `undefined` if it is accepted. */
function connectError(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(undefined)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message)
    })
  })
}
