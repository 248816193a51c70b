import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { play } from '../../deploy/demo/play.js'
import { curlLine, demoRequests } from '../../deploy/demo/requests.js'
import { demoPorts, demoSecondPorts, startStack } from '../../deploy/demo/stack.js'
import { readDemoPolicy } from '../../deploy/demo/tollgate.js'
import { freePorts, freePortsInARow } from './free-ports.js'
import { eventually, startTestStack } from './stack.js'

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

/** The whole demo starts, with two Tollgates and Redis in some: on a busy machine that takes a while. */
const START_PATIENCE_MS = 60_000

describe('the command', { timeout: 2 * START_PATIENCE_MS }, () => {
  const runs: ChildProcess[] = []
  afterEach(() => {
    for (const run of runs.splice(0)) if (run.exitCode === null) run.kill('SIGKILL')
  })

  /** `make run` as make starts it, with a place of its own for its files. */
  async function start(...args: readonly string[]) {
    const TMPDIR = mkdtempSync(join(tmpdir(), 'demo-'))
    const count = Object.keys({ ...demoPorts, ...demoSecondPorts }).length
    const first = await freePortsInARow(count)
    const run = spawn(
      process.execPath,
      ['--import', 'tsx', 'deploy/demo/run.ts', '--base-port', String(first), ...args],
      { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR } },
    )
    runs.push(run)
    let text = ''
    for (const stream of [run.stdout, run.stderr]) {
      stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
    }
    const exited = once(run, 'exit').then(([code]) => code as number | null)
    const prints = (expected: string): Promise<void> =>
      eventually(() => {
        if (run.exitCode !== null) throw new Error(text)
        expect(text).toContain(expected)
      }, START_PATIENCE_MS)
    const urlOf = (part: keyof typeof demoPorts): string =>
      `http://127.0.0.1:${String(first + Object.keys(demoPorts).indexOf(part))}`
    return { run, exited, prints, text: () => text, urlOf, url: urlOf('envoy'), TMPDIR }
  }

  test('--once plays every request, and exits with 0', async () => {
    const it = await start('--once')
    expect(await it.exited).toBe(0)
    const count = String(demoRequests.length)
    expect(it.text()).toContain(`${count} of ${count} came out as told`)
  })

  test('--once --redis does the same with two Tollgates, which both decide on one balance', async () => {
    const it = await start('--once', '--redis')
    expect(await it.exited).toBe(0)
    const count = String(demoRequests.length)
    expect(it.text()).toContain(`${count} of ${count} came out as told`)
    const decided = /(\d+) decisions of the first Tollgate, (\d+) of the second/.exec(it.text())
    expect(decided?.slice(1).every((decisions) => Number(decisions) > 0)).toBe(true)
    const known = /acme has used (\d+) says the first, (\d+) says the second/.exec(it.text())
    expect(Number(known?.[1])).toBeGreaterThan(0)
    expect(known?.[2]).toBe(known?.[1])
  })

  test('--redis leaves no process behind at Ctrl-C, and says when its Redis ends', async () => {
    const it = await start('--redis')
    await it.prints('Ctrl-C stops everything')
    const processes = [...it.text().matchAll(/process (\d+)\)/g)].map(([, id]) => Number(id))
    expect(processes).toHaveLength(4)
    const [, first, second, redis] = processes
    expect(it.text()).toContain(`kill ${String(first)} ${String(second)}; sleep 1`)
    process.kill(redis ?? 0, 'SIGKILL')
    await it.prints('Redis ended (SIGKILL)')
    it.run.kill('SIGINT')
    expect(await it.exited).toBe(0)
    for (const id of processes) expect(() => process.kill(id, 0)).toThrow('ESRCH')
  })

  test('--once that did not come to its end exits with 1', async () => {
    const it = await start('--once')
    await it.prints(`1. ${demoRequests[0]?.title ?? ''}`)
    it.run.kill('SIGINT')
    expect(await it.exited).toBe(1)
  })

  test('ends at once, with all that it has started, at Ctrl-C while it starts', async () => {
    const it = await start()
    const url = `${it.urlOf('identityProvider')}/.well-known/openid-configuration`
    await eventually(async () => {
      // What comes while it begins to listen may get no answer.
      const { ok } = await fetch(url, { signal: AbortSignal.timeout(500) })
      expect(ok).toBe(true)
    }, START_PATIENCE_MS)
    it.run.kill('SIGINT')
    expect(await it.exited).toBe(1)
    expect(readdirSync(it.TMPDIR).filter((name) => name.startsWith('tollgate-demo-'))).toEqual([])
  })

  test('prints its requests as curl lines, outlives Tollgate, and stops whole at Ctrl-C', async () => {
    const it = await start()
    await it.prints('Ctrl-C stops everything')
    for (const request of demoRequests) {
      expect(it.text()).toContain(`${request.title}: ${request.expects.told}`)
      expect(it.text()).toContain(curlLine(request, it.url))
    }
    const processes = [...it.text().matchAll(/process (\d+)\)/g)].map(([, id]) => Number(id))
    expect(processes).toHaveLength(2)
    const [, tollgate] = processes
    if (tollgate === undefined) throw new Error('no process')
    process.kill(tollgate, 'SIGKILL')
    await it.prints('Tollgate ended (SIGKILL)')
    const answer = await fetch(`${it.url}/v1/chat/completions`, { method: 'POST', body: '{}' })
    expect(answer.status).toBe(503)

    it.run.kill('SIGINT')
    expect(await it.exited).toBe(0)
    for (const id of processes) expect(() => process.kill(id, 0)).toThrow('ESRCH')
    const directory = /files and logs +(\S+)/.exec(it.text())?.[1] ?? '/'
    expect(existsSync(directory)).toBe(false)
  })

  test.each([
    [['--nope'], "Unknown option '--nope'"],
    [['--base-port', '80'], '--base-port takes a number from 1024'],
  ])('%j is refused with exit code 2', async (args, message) => {
    const it = await start(...args)
    expect(await it.exited).toBe(2)
    expect(it.text()).toContain(message)
  })
})

test('what the stand-ins say they used is drawn anew for each request', async () => {
  const body = { model: 'llama', max_tokens: 500, messages: [{ role: 'user', content: 'Go on.' }] }
  const before = stack.nodeA.served.length
  for (let times = 0; times < 5; times += 1) await stack.send({ caller: 'alice', body })
  const used = stack.nodeA.served.slice(before).map(({ generation }) => generation.outputTokens)
  expect(used).toHaveLength(5)
  expect(new Set(used).size).toBeGreaterThan(1)
})

test('a port that is taken is named in one line', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  const { port } = taken.address() as AddressInfo
  const ports = { ...(await freePorts()), nodeB: port }
  await expect(
    startStack({ ports, policy: await readDemoPolicy(), random: Math.random }),
  ).rejects.toThrow(
    new RegExp(`^port ${String(port)} is in use \\(wanted for the gpu-b node\\)[^\\n]*$`),
  )
  taken.close()
})
