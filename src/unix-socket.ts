import { connect } from 'node:net'

/** `nobody`: the socket was refused, or is not there. Else the code of whatever came of the attempt. */
export type Listener = 'nobody' | 'somebody' | { readonly unknown: string }

/**
 * Does a process listen on the Unix socket? Whoever is too busy to accept (EAGAIN) or not ours to ask (EACCES) may
 * well be there.
 */
export function listenerAt(path: string): Promise<Listener> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve('somebody')
    })
    socket.once('error', ({ code, message }: NodeJS.ErrnoException) => {
      const isGone = code === 'ECONNREFUSED' || code === 'ENOENT'
      resolve(isGone ? 'nobody' : { unknown: code ?? message })
    })
  })
}
