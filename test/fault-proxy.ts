import { once } from 'node:events'
import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

/** Stands between a client and a server on loopback, and spoils what a test tells it to. */
export interface FaultProxy {
  readonly port: number
  /** Answers are thrown away; what is asked still arrives. */
  dropAnswers(drop: boolean): void
  /** Nothing passes any more, either way, and no connection is closed: half-open. New ones are as dead. */
  swallow(swallows: boolean): void
  /** Cuts every connection. */
  cut(): void
  /** Connections that were opened so far. */
  readonly opened: () => number
  stop(): Promise<void>
}

export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  const sockets = new Set<Socket>()
  let dropping = false
  let swallowing = false
  let opened = 0
  const server = createServer((client) => {
    opened += 1
    const target = createConnection(targetPort, '127.0.0.1')
    for (const socket of [client, target]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        target.destroy()
      })
    }
    client.on('data', (data) => {
      if (!swallowing) target.write(data)
    })
    target.on('data', (data) => {
      if (!dropping && !swallowing) client.write(data)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    dropAnswers(drop) {
      dropping = drop
    },
    swallow(swallows) {
      swallowing = swallows
      // What was swallowed is gone, and a connection without it speaks nonsense.
      if (!swallows) cut()
    },
    cut,
    opened: () => opened,
    async stop() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}
