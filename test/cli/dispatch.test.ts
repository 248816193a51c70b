import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { play } from './terminal.js'

const commands = ['serve', 'check', 'inspect', 'verify-audit', 'ratelimit']

test('without a command it says what there is, on standard error, and fails', async () => {
  const { exitCode, out, err } = await play([])
  expect(exitCode).toBe(2)
  expect(out).toBe('')
  for (const command of commands) expect(err).toContain(`  ${command} `)
})

test('--help says the same on standard output', async () => {
  const { exitCode, out } = await play(['--help'])
  expect(exitCode).toBe(0)
  expect(out).toContain('Usage: tollgate COMMAND')
})

test.each(commands)('%s --help says its usage and exit codes', async (command) => {
  for (const args of [
    [command, '--help'],
    [command, '--policy', 'x', '-h'],
    ['help', command],
  ]) {
    const { exitCode, out } = await play(args)
    expect(exitCode).toBe(0)
    expect(out).toMatch(new RegExp(`^Usage: tollgate ${command} `))
    expect(out).toMatch(/\nExit codes:\n {2}0 {2}/)
    expect(out).toMatch(/\n {2}2 {2}the command line is wrong/)
  }
})

test('an unknown command is named, with the known ones', async () => {
  expect(await play(['chek'])).toMatchObject({
    exitCode: 2,
    err: 'tollgate: unknown command "chek"; the commands are serve, check, inspect, verify-audit, ratelimit, key',
  })
})

test('--version is that of package.json', async () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
  expect(await play(['--version'])).toMatchObject({ exitCode: 0, out: version })
})

test.each([
  [['check', '--policy', 'nowhere'], 'nowhere'],
  [['check', '--policy', 'deploy/demo/policy.yaml', '--envoy', 'nowhere'], 'nowhere'],
  [['inspect', '--policy', 'deploy/demo/policy.yaml', 'nowhere'], 'nowhere'],
  [['verify-audit', 'nowhere', '--key', 'nokey'], 'nokey'],
])('a file that is not there is named: %j', async (args, file) => {
  const { exitCode, err } = await play(args)
  expect(err).toBe(`${file}: expected a readable file; there is none`)
  expect(exitCode).toBe(1)
})

test.each([
  [['check'], 'tollgate check: --policy FILE is needed'],
  [['serve'], 'tollgate serve: --policy FILE is needed'],
  [['check', '--polcy', 'x'], "tollgate check: Unknown option '--polcy'"],
  [['check', '--policy'], "tollgate check: Option '--policy <value>' argument missing"],
  [['check', '--policy', 'x', 'y'], 'tollgate check: unexpected argument "y"'],
  [['inspect', '--policy', 'x', 'a', 'b'], 'tollgate inspect: unexpected argument "b"'],
  [['verify-audit', '--key', 'x'], 'tollgate verify-audit: an audit FILE is needed'],
  [['check', '--policy', 'x', '--policy', 'y'], 'tollgate check: --policy is given more than once'],
  [['verify-audit', 'x'], 'tollgate verify-audit: --key PUB is needed'],
])('a wrong command line %j is refused with exit code 2', async (args, message) => {
  const { exitCode, err } = await play(args)
  expect(err).toBe(`${message}\nTry "tollgate ${args[0] ?? ''} --help".`)
  expect(exitCode).toBe(2)
})
