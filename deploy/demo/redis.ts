import { createConnection } from 'node:net'
import { join } from 'node:path'
import { startChild, waitUntil } from './child.js'
import type { Child } from './child.js'
import { findRedis } from './find-redis.js'

/** A redis-server of the demo's own: on a Unix socket alone, so it takes no port. */
export interface DemoRedis {
  readonly child: Child
  readonly socket: string
}

/**
 * Starts one in `directory` and waits until it answers.
 *
 * @throws Error there is none to start, or it does not start
 */
export async function startDemoRedis(directory: string): Promise<DemoRedis> {
  const { binary, libraries } = findRedis()
  const socket = join(directory, 'redis.sock')
  const child = await startChild({
    command: binary,
    args: [
      ...['--port', '0', '--unixsocket', socket, '--unixsocketperm', '700'],
      ...['--dir', directory, '--save', '', '--appendonly', 'no'],
    ],
    env: { LD_LIBRARY_PATH: libraries },
    logFile: join(directory, 'redis.log'),
  })
  await waitUntil(() => answersPing(socket), { name: 'Redis', child, timeoutMs: 60_000 })
  return { child, socket }
}

function answersPing(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket, () => connection.write('PING\r\n'))
    connection.setTimeout(1000)
    const told = (answer: boolean): void => {
      resolve(answer)
      connection.destroy()
    }
    connection.once('data', (data) => {
      told(data.toString().startsWith('+PONG'))
    })
    for (const fault of ['error', 'timeout', 'close']) {
      connection.once(fault, () => {
        told(false)
      })
    }
  })
}
