import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemClock } from '../../src/clock.js'
import { createScript, openStore, UnansweredError } from '../../src/store/store.js'
import type { Reply, Store } from '../../src/store/store.js'

// A real node that leaves its cluster is quicker with its answers than with leaving.

const bulk = (text: string): string => `$${String(text.length)}\r\n${text}\r\n`

/** Speaks as much of Redis as a cluster's store asks for. */
async function startNode(timeS: number) {
  /** Who waits for the answer of a script; unheld, each is answered at once. */
  const held: Socket[] = []
  const node = { port: 0, holds: false, ownerPort: 0, scripts: 0, held, answer, stop }
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      for (const [, command = ''] of data.toString().matchAll(/\r\n(time|evalsha|cluster)\r\n/gi)) {
        if (/time/i.test(command)) socket.write(`*2\r\n${bulk(String(timeS))}${bulk('0')}`)
        else if (/cluster/i.test(command)) {
          const owner = `*2\r\n${bulk('127.0.0.1')}:${String(node.ownerPort)}\r\n`
          socket.write(`*1\r\n*3\r\n:0\r\n:16383\r\n${owner}`)
        } else {
          node.scripts += 1
          if (node.holds) held.push(socket)
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
  return node
}

let nodes: Awaited<ReturnType<typeof startNode>>[]
let store: Store
beforeEach(async () => {
  nodes = [await startNode(1_600_000_000), await startNode(1_700_000_000)]
})
afterEach(() => {
  store.close()
  for (const node of nodes) node.stop()
})

test('a node that has left the map still answers what it was asked before', async () => {
  const [one, other] = nodes as [(typeof nodes)[0], (typeof nodes)[0]]
  store = openStore(
    {
      cluster: { nodes: [`redis://127.0.0.1:${String(one.port)}`] },
      ...{ caFile: undefined, user: undefined, passwordFile: undefined },
    },
    { clock: systemClock, random: Math.random },
  )
  const script = createScript('return 1')
  const ask = (timeoutMs: number): Promise<Reply> =>
    store.run(script, ['a'], () => [], systemClock.monotonicMs() + timeoutMs)
  expect((await ask(20_000))[2]).toBe(one.port)
  one.holds = true
  const asked = ask(20_000)
  await vi.waitFor(() => {
    expect(one.held.length).toBe(1)
  })
  one.ownerPort = other.port
  // One that fails: so it is asked who has what now.
  await expect(ask(1)).rejects.toThrow(UnansweredError)
  await vi.waitFor(
    () => {
      expect(store.nowMs('a')).toBeGreaterThan(1_690_000_000_000)
    },
    { timeout: 20_000, interval: 10 },
  )
  expect((await ask(20_000))[2]).toBe(other.port)
  for (const socket of one.held) one.answer(socket)
  expect((await asked)[2]).toBe(one.port)
})
