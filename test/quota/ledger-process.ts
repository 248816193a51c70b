import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Balance, End, Ended, Hold, Reservation } from '../../src/quota/ledger.js'
import type { Asked, Burst, BurstResult, ProgramOptions, Told } from './ledger-program.js'

export type { Burst, BurstResult } from './ledger-program.js'

/** A ledger in a process of its own, which may be killed. The moments are that process's. */
export interface LedgerProcess {
  /**
   * @param onUnderway once the first `inFlight` calls were sent
   * @param onHeld at each that is admitted, where it has slices
   */
  burst(burst: Burst, onUnderway?: () => void, onHeld?: () => void): Promise<BurstResult>
  find(id: string): Promise<Reservation<string> | undefined>
  end(id: string, end: End): Promise<Ended<string> | undefined>
  expire(): Promise<readonly Ended<string>[]>
  balances(holds: readonly Hold[]): Promise<readonly Balance[]>
  /** SIGKILL: nothing is finished, nothing is told. */
  kill(): Promise<void>
}

const program = fileURLToPath(new URL('./ledger-program.ts', import.meta.url))

/** Starts one; resolves when it is connected to Redis. */
export async function startLedgerProcess(
  options: Pick<ProgramOptions, 'url'> & Partial<ProgramOptions>,
): Promise<LedgerProcess> {
  const given: ProgramOptions = {
    ...{ timeoutMs: 20_000, skewMs: 0, sliced: false, killAfter: Number.MAX_SAFE_INTEGER },
    ...options,
  }
  const child = fork(program, [JSON.stringify(given)], { execArgv: ['--import', 'tsx'] })
  const killAtExit = (): void => void child.kill('SIGKILL')
  process.once('exit', killAtExit)
  const exited = once(child, 'exit')

  interface Waiting {
    readonly resolve: (answer: never) => void
    readonly reject: (error: Error) => void
    readonly onUnderway: () => void
    readonly onHeld: () => void
  }
  const waiting = new Map<number, Waiting>()
  const ready = new Promise<void>((resolve, reject) => {
    child.on('message', (told: Told) => {
      if (told.kind === 'ready') {
        resolve()
        return
      }
      const asked = waiting.get(told.call)
      if (told.kind === 'underway') {
        asked?.onUnderway()
        return
      }
      if (told.kind === 'held') {
        asked?.onHeld()
        return
      }
      waiting.delete(told.call)
      if (told.kind === 'answer') asked?.resolve(told.answer as never)
      else asked?.reject(new Error(told.failure))
    })
    void exited.then(() => {
      const ended = new Error('the process has ended')
      reject(ended)
      for (const { reject: rejectOne } of waiting.values()) rejectOne(ended)
      waiting.clear()
    })
  })

  let calls = 0
  const ask = <Answer>(
    method: string,
    args: readonly unknown[],
    onUnderway = (): void => undefined,
    onHeld = (): void => undefined,
  ): Promise<Answer> =>
    new Promise<Answer>((resolve, reject) => {
      const call = (calls += 1)
      waiting.set(call, { resolve, reject, onUnderway, onHeld })
      const asked: Asked = { call, method, args }
      child.send(asked)
    })

  await ready
  return {
    burst: (burst, onUnderway, onHeld) => ask('burst', [burst], onUnderway, onHeld),
    find: (id) => ask('find', [id]),
    end: (id, end) => ask('end', [id, end]),
    expire: () => ask('expire', []),
    balances: (holds) => ask('balances', [holds]),
    async kill() {
      process.removeListener('exit', killAtExit)
      child.kill('SIGKILL')
      await exited
    },
  }
}
