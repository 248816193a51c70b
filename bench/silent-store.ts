// `make bench ARGS=silent`: how long a Check takes whose ledger is a Redis that stands still (SIGSTOP), at the default of
// `ledger.timeoutMs`, beside one in memory and one on a Redis that answers. As the caller of the gRPC service sees it.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { startRedis } from '../test/redis-server.js'
import { checkRequest, connect, prompt } from './load.js'
import type { Load } from './load.js'
import { print } from './measure.js'
import type { Listening, Sample } from './messages.js'

/** So many at once: all of them wait, for it takes five faults until Redis is not asked any more. */
const AT_ONCE = 8
const ROUNDS = 40
const CALLS = AT_ONCE * ROUNDS
const PROMPT_BYTES = 1024

interface Bench {
  readonly load: Load
  next(count: number): readonly Buffer[]
  /** Of the calls since it was asked before. */
  refused(): Promise<number>
  close(): void
}

let streams = 0

async function start(...args: readonly string[]): Promise<Bench> {
  const file = fileURLToPath(new URL('./server.js', import.meta.url))
  const child = fork(file, ['tollgate', ...args])
  const [{ address, credentials }] = (await once(child, 'message')) as [Listening]
  const load = connect(address)
  return {
    load,
    next: (count) =>
      Array.from({ length: count }, () => {
        streams += 1
        const credential = credentials[streams % credentials.length] ?? ''
        return checkRequest(streams, credential, prompt(PROMPT_BYTES))
      }),
    async refused() {
      child.send({ kind: 'sample' })
      const [{ refused }] = (await once(child, 'message')) as [Sample]
      return refused
    },
    close() {
      load.close()
      child.disconnect()
    },
  }
}

function tell(what: string, latenciesMs: readonly number[], refused: number): void {
  const sorted = [...latenciesMs].sort((one, other) => one - other)
  const at = (part: number): string =>
    (sorted[Math.ceil(sorted.length * part) - 1] ?? NaN).toFixed(1)
  const figures = `median ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`
  print(`  ${what}: ${figures}; ${String(refused)} of ${String(sorted.length)} refused`)
}

async function tellAnswering(what: string, bench: Bench): Promise<void> {
  // The first warm up.
  await bench.load.send(bench.next(CALLS), AT_ONCE)
  await bench.refused()
  const { latenciesMs } = await bench.load.send(bench.next(CALLS), AT_ONCE)
  tell(what, latenciesMs, await bench.refused())
}

const redis = await startRedis()
const memory = await start()
const shared = await start(redis.address.url)
try {
  print(`A Check of 1 KiB, ${String(AT_ONCE)} at once, with everything on:`)
  await tellAnswering('ledger in memory', memory)
  await tellAnswering('ledger on Redis, which answers', shared)

  const waited: number[] = []
  let refused = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    redis.pause()
    const { latenciesMs } = await shared.load.send(shared.next(AT_ONCE), AT_ONCE)
    waited.push(...latenciesMs)
    refused += await shared.refused()
    redis.resume()
    // Until it is asked again.
    do await shared.load.send(shared.next(1), 1)
    while ((await shared.refused()) > 0)
  }
  tell('ledger on Redis, which has just fallen silent', waited, refused)

  redis.pause()
  await shared.load.send(shared.next(AT_ONCE), AT_ONCE)
  await shared.refused()
  const { latenciesMs } = await shared.load.send(shared.next(CALLS), AT_ONCE)
  tell('ledger on Redis, which is known to be silent', latenciesMs, await shared.refused())
} finally {
  redis.resume()
  for (const bench of [memory, shared]) bench.close()
  await redis.stop()
}
