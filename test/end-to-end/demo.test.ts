import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { play } from '../../deploy/demo/play.js'
import { demoRequests } from '../../deploy/demo/requests.js'
import { startStack } from '../../deploy/demo/stack.js'
import { readDemoPolicy } from '../../deploy/demo/tollgate.js'
import { freePorts } from './free-ports.js'
import { startTestStack } from './stack.js'

const stack = await startTestStack()

test('every request of the demo comes out as told, each with what it cost', async () => {
  const lines: string[] = []
  const good = await play(stack, (line) => lines.push(line))
  expect(lines.filter((line) => line.includes('NOT AS TOLD'))).toEqual([])
  expect(good).toBe(true)
  const count = String(demoRequests.length)
  expect(lines.at(-1)).toBe(`${count} of ${count} came out as told`)
  expect(lines.filter((line) => /\d+ tokens/.test(line)).length).toBeGreaterThanOrEqual(
    demoRequests.length,
  )
})

test('one that does not come out as told is named, and the demo fails', async () => {
  await stack.nodeA.refuse()
  const lines: string[] = []
  const good = await play(stack, (line) => lines.push(line))
  await stack.nodeA.reopen()
  expect(good).toBe(false)
  expect(lines.filter((line) => line.includes('NOT AS TOLD')).length).toBeGreaterThanOrEqual(3)
})

test('a port that is taken is named in one line', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  const { port } = taken.address() as AddressInfo
  const ports = { ...(await freePorts()), nodeB: port }
  await expect(
    startStack({ ports, policy: await readDemoPolicy(), random: Math.random }),
  ).rejects.toThrow(new RegExp(`^port ${String(port)} is in use \\(wanted for nodeB\\)[^\\n]*$`))
  taken.close()
})
