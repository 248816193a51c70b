import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

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
