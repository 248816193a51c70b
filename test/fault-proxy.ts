import { once } from 'node:events'
import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

/** Stands between a client and a server on loopback, and spoils what a test tells it to. */
export interface FaultProxy {
  readonly port: number
  /** Answers are thrown away; what is asked still arrives. */
  dropAnswers(drop: boolean): void
  /** Answers are kept back, and passed on in their order when they no longer are; what is asked still arrives. */
  delayAnswers(delay: boolean): void
  /** Bytes of answers that are kept back. */
  readonly delayedBytes: () => number
  /** Nothing passes any more, either way, and no connection is closed: half-open. New ones are as dead. */
  swallow(swallows: boolean): void
  /** The same for those that are open now, for good, and nobody closes them from here; new ones pass. */
  swallowOpen(): void
  /** Cuts every connection. */
  cut(): void
  /** Connections that were opened so far. */
  readonly opened: () => number
  stop(): Promise<void>
}

export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  const sockets = new Set<Socket>()
  let dropping = false
  let delaying = false
  const delayed: { readonly client: Socket; readonly data: Buffer }[] = []
  let swallowing = false
  let dead = new Set<Socket>()
  let opened = 0
  const server = createServer({ allowHalfOpen: true }, (client) => {
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
    client.on('end', () => {
      if (!dead.has(client)) client.end()
    })
    client.on('data', (data) => {
      if (!swallowing && !dead.has(client)) target.write(data)
    })
    target.on('data', (data) => {
      if (dropping || swallowing || dead.has(client)) return
      if (delaying) delayed.push({ client, data })
      else client.write(data)
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
    delayAnswers(delay) {
      delaying = delay
      if (delay) return
      for (const { client, data } of delayed.splice(0)) if (!client.destroyed) client.write(data)
    },
    delayedBytes: () => delayed.reduce((sum, { data }) => sum + data.length, 0),
    swallow(swallows) {
      swallowing = swallows
      // What was swallowed is gone, and a connection without it speaks nonsense.
      if (!swallows) cut()
    },
    swallowOpen() {
      dead = new Set(sockets)
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
