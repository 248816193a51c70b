import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { StoreAddress } from '../../src/store/store.js'

const bulk = (text: string): string => `$${String(text.length)}\r\n${text}\r\n`

export type SmallNode = Awaited<ReturnType<typeof startSmallNode>>

/** Speaks as much of Redis as a cluster's store asks for. */
export async function startSmallNode(timeS: number) {
  /** Who waits for the answer of a script; unheld, each is answered at once. */
  const held: Socket[] = []
  /** The errors that the next scripts are answered with. */
  const errors: string[] = []
  const node = {
    port: 0,
    holds: false,
    /** Whose all slots are; 0: nobody's; undefined: it does not say. */
    ownerPort: 0 as number | undefined,
    asking: 0,
    scripts: 0,
    maps: 0,
  }
  const sockets = new Set<Socket>()
  /** Who waits to hear whose the slots are. */
  const unsaid: Socket[] = []
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (data) => {
      const commands = data.toString().matchAll(/\r\n(time|evalsha|cluster|asking)\r\n/gi)
      for (const [, command = ''] of commands) {
        if (/time/i.test(command)) socket.write(`*2\r\n${bulk(String(timeS))}${bulk('0')}`)
        else if (/cluster/i.test(command)) {
          node.maps += 1
          if (node.ownerPort === undefined) unsaid.push(socket)
          else say(socket)
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
  function say(socket: Socket): void {
    const owner = `*2\r\n${bulk('127.0.0.1')}:${String(node.ownerPort)}\r\n`
    socket.write(node.ownerPort === 0 ? '*0\r\n' : `*1\r\n*3\r\n:0\r\n:16383\r\n${owner}`)
  }
  function stop(): void {
    server.close()
  }
  /** As when it dies. */
  function cut(): void {
    for (const socket of sockets) socket.destroy()
  }
  return Object.assign(node, { held, unsaid, errors, answer, say, stop, cut })
}

/** A cluster that is known by these nodes. */
export function clusterOf(...known: readonly SmallNode[]): StoreAddress {
  const nodes = known.map(({ port }) => `redis://127.0.0.1:${String(port)}`)
  return { cluster: { nodes }, caFile: undefined, user: undefined, passwordFile: undefined }
}
