import type { Clock } from '../../src/clock.js'
import type { Hold, Ledger } from '../../src/quota/ledger.js'
import type * as errorsModule from '../../src/errors.js'
import type * as ledgerModule from '../../src/quota/redis/redis-ledger.js'
import type * as scriptsModule from '../../src/quota/redis/scripts.js'
import type * as slicedModule from '../../src/quota/slices/sliced-ledger.js'
import type * as storeModule from '../../src/store/store.js'
import { givesSlices } from './slicing.js'

// A process of its own with the built ledger, as `ledger-process.ts` starts it and talks to it.

export interface ProgramOptions {
  /** Of Redis: its URL. */
  readonly url: string
  readonly timeoutMs: number
  /** By how much this process's idea of the wall clock is wrong. */
  readonly skewMs: number
  /** It takes slices of the quotas that say so, as the program does. */
  readonly sliced: boolean
  /**
   * Once it has admitted so many it kills itself (SIGKILL), at the moment at which most is lost: it has been given
   * slices, and has admitted nothing from them.
   */
  readonly killAfter: number
}

/** Reserves one after the other, `inFlight` at a time. */
export interface Burst {
  /** Ids and idempotency keys begin so. */
  readonly name: string
  readonly attempts: number
  readonly inFlight: number
  /** What the attempts ask for, in turn. */
  readonly holds: readonly (readonly Hold[])[]
  readonly leaseMs: number
}

export interface BurstResult {
  /** What was held, and the moment that the ledger says of it. */
  readonly held: readonly { readonly id: string; readonly admittedAtEpochMs: number }[]
  readonly short: number
  /** A `DependencyError`. */
  readonly failed: number
}

export interface Asked {
  readonly call: number
  /** A method of `Ledger` that takes the moment last, which this process adds; or `burst`. */
  readonly method: string
  readonly args: readonly unknown[]
}

export type Told =
  | { readonly kind: 'ready' }
  /** The first calls of the burst were sent. */
  | { readonly kind: 'underway'; readonly call: number }
  /** One more of the burst was admitted. */
  | { readonly kind: 'held'; readonly call: number }
  | { readonly kind: 'answer'; readonly call: number; readonly answer: unknown }
  | { readonly kind: 'failure'; readonly call: number; readonly failure: string }

type Methods = Record<string, (...args: unknown[]) => Promise<unknown>>

/** What runs in production: the compiled program, not its source. */
async function fromBuild<Module>(file: string): Promise<Module> {
  return (await import(new URL(`../../dist/${file}.js`, import.meta.url).href)) as Module
}

const { DependencyError } = await fromBuild<typeof errorsModule>('errors')

async function main(options: ProgramOptions): Promise<void> {
  const { url, timeoutMs, skewMs, sliced, killAfter } = options
  const { openStore } = await fromBuild<typeof storeModule>('store/store')
  const { createRedisLedger } = await fromBuild<typeof ledgerModule>('quota/redis/redis-ledger')
  const { createSlicedLedger } = await fromBuild<typeof slicedModule>('quota/slices/sliced-ledger')
  const { loadRedisScripts } = await fromBuild<typeof scriptsModule>('quota/redis/scripts')
  // The other clock only has an origin that means nothing: it is far off as well.
  const clock: Clock = {
    nowEpochMs: () => Date.now() + skewMs,
    monotonicMs: () => performance.now() + Math.abs(skewMs),
  }
  const address = { url, caFile: undefined, user: undefined, passwordFile: undefined }
  const opened = openStore(address, { clock, random: Math.random })
  const { turn } = loadRedisScripts()
  let admitted = 0
  const store: typeof opened = {
    ...opened,
    async run(...call) {
      const reply = await opened.run(...call)
      if (call[0].digest === turn.digest && admitted >= killAfter && givesSlices(reply)) {
        process.kill(process.pid, 'SIGKILL')
      }
      return reply
    },
  }
  const plain = createRedisLedger<string>({ store, clock, timeoutMs })
  const ledger = sliced
    ? createSlicedLedger({ ledger: plain, store, clock, timeoutMs, random: Math.random })
    : plain
  const tell = (told: Told): void => void process.send?.(told)

  process.on('message', ({ call, method, args }: Asked) => {
    const answer =
      method === 'burst'
        ? burst(ledger, clock, args[0] as Burst, {
            underway: () => {
              tell({ kind: 'underway', call })
            },
            held: () => {
              admitted += 1
              // Before it does anything else.
              if (sliced) tell({ kind: 'held', call })
            },
          })
        : // By its name, which came as a text.
          (ledger as unknown as Methods)[method]?.(...args, clock.nowEpochMs())
    Promise.resolve(answer).then(
      (value) => {
        tell({ kind: 'answer', call, answer: value })
      },
      (error: unknown) => {
        tell({ kind: 'failure', call, failure: String(error) })
      },
    )
  })
  process.on('disconnect', () => process.exit(0))
  // Connected, and the time of Redis is known. A busy machine may need more than one call's time for that.
  while (!(await answers(ledger.balances([], clock.nowEpochMs()))));
  tell({ kind: 'ready' })
}

function answers(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    () => false,
  )
}

async function burst(
  ledger: Ledger<string>,
  clock: Clock,
  { name, attempts, inFlight, holds, leaseMs }: Burst,
  on: { readonly underway: () => void; readonly held: () => void },
): Promise<BurstResult> {
  const held: { id: string; admittedAtEpochMs: number }[] = []
  let short = 0
  let failed = 0
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < attempts) {
      const index = next
      next += 1
      const id = `${name} ${String(index)}`
      const request = {
        id,
        idempotencyKey: id,
        holds: holds[index % holds.length] ?? [],
        context: `context of ${id}`,
        leaseMs,
      }
      try {
        const answer = await ledger.reserve(request, clock.nowEpochMs())
        if (answer.kind === 'short') short += 1
        else {
          held.push({ id, admittedAtEpochMs: answer.reservation.admittedAtEpochMs })
          on.held()
        }
      } catch (error) {
        if (!(error instanceof DependencyError)) throw error
        failed += 1
      }
    }
  }
  const lanes = Array.from({ length: inFlight }, lane)
  setImmediate(on.underway)
  await Promise.all(lanes)
  return { held, short, failed }
}

await main(JSON.parse(process.argv[2] ?? '') as ProgramOptions)
