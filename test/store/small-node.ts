import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { StoreAddress } from '../../src/store/store.js'

const bulk = (text: string): string => `$${String(text.length)}\r\n${text}\r\n`

export type SmallNode = Awaited<ReturnType<typeof startSmallNode>>

/** Speaks as much of Redis as a cluster's store asks for; `ownerPort` says whose all slots are. */
export async function startSmallNode(timeS: number) {
  /** Who waits for the answer of a script; unheld, each is answered at once. */
  const held: Socket[] = []
  /** The errors that the next scripts are answered with. */
  const errors: string[] = []
  const node = { port: 0, holds: false, ownerPort: 0, asking: 0, scripts: 0, maps: 0 }
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      const commands = data.toString().matchAll(/\r\n(time|evalsha|cluster|asking)\r\n/gi)
      for (const [, command = ''] of commands) {
        if (/time/i.test(command)) socket.write(`*2\r\n${bulk(String(timeS))}${bulk('0')}`)
        else if (/cluster/i.test(command)) {
          node.maps += 1
          const owner = `*2\r\n${bulk('127.0.0.1')}:${String(node.ownerPort)}\r\n`
          socket.write(`*1\r\n*3\r\n:0\r\n:16383\r\n${owner}`)
        } else if (/asking/i.test(command)) {
          node.asking += 1
          socket.write('+OK\r\n')
        } else {
          node.scripts += 1
          const error = errors.shift()
          if (error !== undefined) socket.write(`-${error}\r\n`)
          else if (node.holds) held.push(socket)
          else answer(socket)
        }
      }
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  node.port = (server.address() as AddressInfo).port
  node.ownerPort = node.port

  function answer(socket: Socket): void {
    socket.write(`*3\r\n${bulk('done')}:${String(timeS * 1000)}\r\n:${String(node.port)}\r\n`)
  }
  function stop(): void {
    server.close()
  }
  return Object.assign(node, { held, errors, answer, stop })
}

/** A cluster that is known by this node. */
export function clusterOf({ port }: SmallNode): StoreAddress {
  const nodes = [`redis://127.0.0.1:${String(port)}`]
  return { cluster: { nodes }, caFile: undefined, user: undefined, passwordFile: undefined }
}
