#!/usr/bin/env node
import { exitCodes } from './commands/command.js'
import { dispatch } from './commands/dispatch.js'
import { readAtMost } from './commands/read-at-most.js'

// A reader that has seen enough (`| head`) is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.ok)
  throw error
})

process.exitCode = await dispatch(process.argv.slice(2), {
  out: (line) => process.stdout.write(`${line}\n`),
  err: (line) => process.stderr.write(`${line}\n`),
  progress: process.stderr.isTTY ? (line) => process.stderr.write(`\r\u001b[K${line}`) : undefined,
  readInput: (maxBytes) => readAtMost(process.stdin, maxBytes),
})

// A peer that never closes its end of a connection would keep the process after all is done; nothing else waits.
setTimeout(() => {
  process.exit()
}, 1000).unref()
