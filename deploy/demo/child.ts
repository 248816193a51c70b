import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'

/** A process that we started. Its output goes to a file. */
export interface Child {
  readonly pid: number
  readonly logFile: string
  /** Resolves with the exit code, or the name of the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>
  /** True until it has ended. */
  readonly running: () => boolean
  /** Asks it to end (SIGTERM), and ends it by force when it has not after `graceMs`. */
  stop(graceMs?: number): Promise<void>
  signal(signal: NodeJS.Signals): void
}

export interface ChildOptions {
  readonly command: string
  readonly args: readonly string[]
  readonly logFile: string
  /** What it writes to stdout, where that is not to be among the lines of stderr. */
  readonly outputFile?: string
  readonly cwd?: string
  /** On top of this process's own. */
  readonly env?: Readonly<Record<string, string>>
}

/** @throws Error the program could not be started */
export async function startChild(options: ChildOptions): Promise<Child> {
  const log = openSync(options.logFile, 'a')
  const output = options.outputFile === undefined ? log : openSync(options.outputFile, 'a')
  const child = spawn(options.command, options.args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', output, log],
    // Its own group: Ctrl-C in the terminal reaches the demo alone, which then stops its parts in order.
    detached: true,
  })
  closeSync(log)
  if (output !== log) closeSync(output)
  let ended = false
  const exited = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once('exit', (code, signal) => {
      ended = true
      resolve(code ?? signal ?? 'SIGKILL')
    })
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) => {
      reject(new Error(`${options.command} could not be started: ${cause.message}`, { cause }))
    })
  })
  const { pid } = child
  if (pid === undefined) throw new Error(`${options.command} could not be started`)

  const killAtExit = (): void => {
    if (!ended) child.kill('SIGKILL')
  }
  process.once('exit', killAtExit)
  void exited.then(() => process.removeListener('exit', killAtExit))

  return {
    pid,
    logFile: options.logFile,
    exited,
    running: () => !ended,
    signal: (signal) => {
      if (!ended) child.kill(signal)
    },
    async stop(graceMs = 10_000) {
      if (ended) return
      child.kill('SIGTERM')
      const force = setTimeout(() => child.kill('SIGKILL'), graceMs)
      await exited
      clearTimeout(force)
    },
  }
}

export interface WaitOptions {
  /** What is waited for, for the message. */
  readonly name: string
  readonly child: Child
  readonly timeoutMs: number
}

/**
 * Waits until `url` answers 200.
 *
 * @throws Error the process ended before, or `timeoutMs` passed; the message names its log
 */
export async function waitUntilReady(
  options: WaitOptions & { readonly url: string },
): Promise<void> {
  await waitUntil(() => answers(options.url), options)
}

/**
 * Waits until a child does its work. One that does not in time is stopped: it would keep its ports, and this process.
 *
 * @throws Error as of `waitUntilReady`
 */
export async function waitUntil(
  isReady: () => Promise<boolean>,
  options: WaitOptions,
): Promise<void> {
  const { name, child, timeoutMs } = options
  const deadlineMs = performance.now() + timeoutMs
  while (performance.now() < deadlineMs) {
    if (!child.running()) {
      throw new Error(
        `${name} ended while it started (${String(await child.exited)}): see ${child.logFile}`,
      )
    }
    if (await isReady()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await child.stop()
  throw new Error(`${name} was not ready after ${String(timeoutMs)} ms: see ${child.logFile}`)
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1000) })
    await response.arrayBuffer()
    return response.status === 200
  } catch {
    return false
  }
}
