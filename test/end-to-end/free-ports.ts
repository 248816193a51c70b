import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import type { SecondPorts, StackPorts } from '../../deploy/demo/stack.js'

/** Below the range from which the system takes ports of its own, so that none is taken between search and use. */
export async function freePorts(): Promise<StackPorts> {
  const [envoy = 0, envoyAdmin = 0, tollgateMetrics = 0, tollgateAdmin = 0] = await search(4)
  return {
    envoy,
    envoyAdmin,
    tollgateMetrics,
    tollgateAdmin,
    identityProvider: 0,
    nodeA: 0,
    nodeB: 0,
  }
}

/** Of a second Tollgate, likewise. */
export async function freeSecondPorts(): Promise<SecondPorts> {
  const [secondMetrics = 0, secondAdmin = 0] = await search(2)
  return { secondMetrics, secondAdmin }
}

async function search(count: number): Promise<readonly number[]> {
  const ports: number[] = []
  while (ports.length < count) {
    const port = randomInt(18_000, 30_000)
    if (!ports.includes(port) && (await isFree(port))) ports.push(port)
  }
  return ports
}

/** The first of `count` ports in a row, all of them free. */
export async function freePortsInARow(count: number): Promise<number> {
  for (;;) {
    const first = randomInt(18_000, 30_000)
    const free = await Promise.all(
      Array.from({ length: count }, (_, index) => isFree(first + index)),
    )
    if (free.every(Boolean)) return first
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => {
      resolve(false)
    })
    server.listen(port, '127.0.0.1', () => {
      server.close(() => {
        resolve(true)
      })
    })
  })
}
