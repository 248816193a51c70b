import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs'
import { writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { startChild } from '../deploy/demo/child.js'
import type { Child } from '../deploy/demo/child.js'
import { check } from './as-envoy.js'
import { freePort } from './free-port.js'
import { startSmallProvider } from './small-provider.js'
import type { SmallProvider } from './small-provider.js'

// The program with a standard output that takes nothing.

const program = join(import.meta.dirname, '..', 'dist', 'cli.js')
const directory = mkdtempSync(join(tmpdir(), 'tollgate-serve-log-'))
const socket = join(directory, 'grpc.sock')
const patience = { timeout: 25_000, interval: 50 }

let provider: SmallProvider
beforeAll(async () => {
  provider = await startSmallProvider()
})
const children: Child[] = []
afterEach(async () => {
  for (const child of children.splice(0)) await child.stop()
})
afterAll(() => {
  provider.close()
  rmSync(directory, { recursive: true })
})

async function start(outputFile: string) {
  const port = await freePort()
  const policyFile = join(directory, 'policy.yaml')
  const logFile = join(directory, 'errors')
  writeFileSync(
    policyFile,
    `
listen: { grpc: 'unix://${socket}', metrics: '127.0.0.1:${String(port)}', admin: '127.0.0.1:0' }
issuers:
  - { issuer: '${provider.issuer}', insecureHttp: true, audiences: [llm], algorithms: [ES256], tenant: { fixed: acme } }
paths: [{ path: /health, method: GET, pool: gpu-a, public: true }]
limits: { examinationWorkers: 1 }
drain: { delayMs: 0, deadlineMs: 0 }
`,
  )
  const args = [program, 'serve', '--policy', policyFile]
  const child = await startChild({ command: process.execPath, args, logFile, outputFile })
  children.push(child)
  const page = (path: string) => fetch(`http://127.0.0.1:${String(port)}${path}`)
  await vi.waitFor(async () => {
    if (!child.running()) throw new Error(readFileSync(logFile, 'utf8'))
    expect((await page('/readyz')).status).toBe(200)
  }, patience)
  const metric = async (name: string): Promise<number> => {
    const text = await (await page('/metrics')).text()
    return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
  }
  return { child, metric }
}

/** A pipe with a name that is full. */
function fullPipe() {
  const path = join(directory, 'pipe')
  rmSync(path, { force: true })
  execFileSync('mkfifo', [path])
  // Both ends, so that opening waits for nobody.
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  const filling = Buffer.alloc(4096, '\n')
  const untilNothingIsLeft = (act: () => void): void => {
    try {
      for (;;) act()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
  }
  let text = ''
  const piece = Buffer.alloc(65_536)
  untilNothingIsLeft(() => writeSync(fd, filling))
  return {
    path,
    /** All that came out of it until now. */
    read(): string {
      untilNothingIsLeft(() => (text += piece.toString('utf8', 0, readSync(fd, piece))))
      return text
    },
    close: () => {
      closeSync(fd)
    },
  }
}

describe('standard output on a disk that is full', () => {
  test('keeps nobody from an answer: lines wait, then they are dropped and counted', async () => {
    const { child, metric } = await start('/dev/full')
    await vi.waitFor(async () => {
      expect(await metric('tollgate_log_waiting_bytes')).toBeGreaterThan(0)
    }, patience)
    expect(await metric('tollgate_log_lines_dropped_total')).toBe(0)

    const client = new Client(`unix:${socket}`, credentials.createInsecure())
    const http = { id: '1', method: 'GET', path: '/health' }
    while ((await metric('tollgate_log_lines_dropped_total')) === 0) {
      const asking = Array.from({ length: 500 }, () =>
        check(client, { attributes: { request: { http } } }),
      )
      for (const answer of await Promise.all(asking))
        expect(answer).toMatchObject({ okResponse: {} })
    }
    client.close()
    expect(await metric('tollgate_log_waiting_bytes')).toBeLessThanOrEqual(4 * 2 ** 20)

    child.signal('SIGTERM')
    expect(await child.exited).toBe(0)
  }, 120_000)
})

describe('standard output into a pipe that nobody reads', () => {
  test('keeps the process neither from its start nor from its end', async () => {
    const pipe = fullPipe()
    const { child } = await start(pipe.path)
    child.signal('SIGTERM')
    expect(await child.exited).toBe(0)
    expect(pipe.read()).not.toContain('tollgate')
    pipe.close()
  })

  test('has every line as soon as somebody reads', async () => {
    const pipe = fullPipe()
    const { child } = await start(pipe.path)
    await vi.waitFor(() => {
      expect(pipe.read()).toContain('limits hold per process')
    }, patience)
    child.signal('SIGTERM')
    expect(await child.exited).toBe(0)
    const messages = pipe
      .read()
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { msg: string }).msg)
    expect(messages[0]).toContain('no audit file')
    expect(messages).toContain('tollgate is listening')
    expect(messages.at(-1)).toBe('stopped')
    pipe.close()
  })
})
