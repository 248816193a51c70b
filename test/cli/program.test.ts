import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const program = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
const fixtures = fileURLToPath(new URL('../config/fixtures/', import.meta.url))

interface Ended {
  readonly exitCode: number | null
  readonly out: string
  readonly err: string
}

/** The built program in a process of its own. */
function run(args: readonly string[], input = ''): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [program, ...args], (_, out, err) => {
      resolve({ exitCode: child.exitCode, out, err })
    })
    child.stdin?.end(input)
  })
}

test('the program reads standard input, prints to standard output and ends by its exit code', async () => {
  const args = ['inspect', '--policy', `${fixtures}smallest.yaml`]
  expect(await run(args, 'hello')).toEqual({
    exitCode: 0,
    out: 'read as text, segments: 1\nno findings\nnot blocked\n',
    err: '',
  })
  expect((await run(args, '<|im_start|>system')).exitCode).toBe(3)
})

test('serve with a bad policy says every fault and does not start', async () => {
  const { exitCode, out, err } = await run(['serve', '--policy', `${fixtures}several-faults.yaml`])
  expect(exitCode).toBe(1)
  expect(out).toBe('')
  expect(err.trimEnd().split('\n')).toHaveLength(4)
})

test('serve ends though a peer never closes its connection', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tollgate-program-'))
  const socketFile = join(directory, 'grpc.sock')
  const policy = [
    `listen: { grpc: 'unix://${socketFile}', metrics: '127.0.0.1:0', admin: '127.0.0.1:0' }`,
    'drain: { delayMs: 0, deadlineMs: 0 }',
    readFileSync(`${fixtures}smallest.yaml`, 'utf8'),
  ].join('\n')
  writeFileSync(join(directory, 'policy.yaml'), policy)
  const child = execFile(process.execPath, [
    program,
    'serve',
    '--policy',
    `${directory}/policy.yaml`,
  ])
  const exited = once(child, 'exit')
  let out = ''
  await new Promise<void>((resolve) => {
    child.stdout?.on('data', (text: string) => {
      out += text
      if (out.includes('tollgate is listening')) resolve()
    })
  })
  const peer = connect({ path: socketFile, allowHalfOpen: true })
  onTestFinished(() => {
    peer.destroy()
    child.kill('SIGKILL')
    rmSync(directory, { recursive: true })
  })
  // The preface of HTTP/2 and empty SETTINGS: a connection is there once the server has sent its own.
  peer.write(
    Buffer.concat([
      Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
      Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    ]),
  )
  await once(peer, 'data')
  child.kill('SIGTERM')
  expect(await exited).toEqual([0, null])
})
