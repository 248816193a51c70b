// `make bench ARGS=silent`, its second part: requests with quotas on three nodes of a Redis Cluster of which one is stopped
// (SIGSTOP) just before, at the default of `ledger.timeoutMs`. How many of them are held by the quotas of the others, and
// for how many all quotas are asked what they say without Redis (`onStoreFailure`).
import { spawn } from 'node:child_process'
import { systemClock } from '../src/clock.js'
import type { Hold } from '../src/quota/ledger.js'
import { createLedger } from '../src/quota/ledgers.js'
import { holdsOnThreeNodes, tagOf } from '../test/quota/three-nodes.js'
import { startCluster } from '../test/redis-cluster.js'
import { median, print } from './measure.js'

const TIMEOUT_MS = 60
/** As often as each node is stopped. */
const TIMES = 2
/** Before the breaker opens, in each round. */
const AT_ONCE = 8
const IN_A_ROW = 6
/** Processes that do nothing but keep the cores busy. */
const BUSY = 6
/** Until slices are over and back, so that a round begins without. */
const SLICES_OVER_MS = 2500

const group = await startCluster()
let streams = 0

function holdsOf(slices: boolean): readonly Hold[] {
  return holdsOnThreeNodes(1_000_000).map((hold) => {
    const quota = { ...hold.quota, limit: 1_000_000_000, onStoreFailure: 'allow' as const }
    return { ...hold, quota: slices ? { ...quota, slices } : quota }
  })
}

function open() {
  const redis = { address: group.address, timeoutMs: TIMEOUT_MS, processes: 1 }
  return createLedger<string>(
    { kind: 'redis', ...redis, maxPartitions: undefined },
    { clock: systemClock, random: Math.random, processId: 'bench', heapBytes: 1e9 },
  )
}

/** How long it took, and how many of its quotas nobody counts. */
async function ask(ledger: ReturnType<typeof open>, holds: readonly Hold[]) {
  const id = `stream ${String((streams += 1))}`
  const request = { id, idempotencyKey: id, holds, context: '', leaseMs: 60_000 }
  const beganMs = systemClock.monotonicMs()
  const answer = await ledger.reserve(request, Date.now())
  const tookMs = systemClock.monotonicMs() - beganMs
  if (answer.kind !== 'held') throw new Error(answer.kind)
  return { answer, tookMs, uncounted: answer.fallback?.uncountedQuotas.length ?? 0 }
}

async function untilAnswering(ledger: ReturnType<typeof open>, holds: readonly Hold[]) {
  for (let answered = 0; answered < 5;) {
    const asked = ledger.balances(holds, Date.now())
    answered = await asked.then(
      () => answered + 1,
      () => 0,
    )
    if (answered === 0) await pause(50)
  }
  await ledger.expire(Date.now()).catch(() => undefined)
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function row(slices: boolean, atOnce: number): Promise<string> {
  const holds = holdsOf(slices)
  const ledger = open()
  await untilAnswering(ledger, holds)
  for (let times = 0; times < 100; times += 1) {
    const asked = await Promise.all(Array.from({ length: AT_ONCE }, () => ask(ledger, holds)))
    for (const { answer } of asked) {
      await ledger
        .end(answer.reservation.id, { kind: 'released' }, Date.now())
        .catch(() => undefined)
    }
  }
  const asked: { tookMs: number; uncounted: number }[] = []
  for (let round = 0; round < 3 * TIMES; round += 1) {
    if (slices) await pause(SLICES_OVER_MS)
    await untilAnswering(ledger, holds)
    const node = group.masterOf(`{${tagOf(holds[round % 3] as Hold)}}`)
    node.pause()
    if (atOnce > 1) {
      asked.push(...(await Promise.all(Array.from({ length: atOnce }, () => ask(ledger, holds)))))
    } else {
      for (let times = 0; times < IN_A_ROW; times += 1) asked.push(await ask(ledger, holds))
    }
    node.resume()
    await untilAnswering(ledger, holds)
  }
  await ledger.close()
  const all = asked.filter(({ uncounted }) => uncounted === holds.length).length
  const times = asked.map(({ tookMs }) => tookMs)
  const figures = `median ${median(times).toFixed(0)} ms, max ${Math.max(...times).toFixed(0)} ms`
  return `all quotas asked for ${String(all)} of ${String(asked.length)}; ${figures}`
}

async function rows(): Promise<void> {
  for (const slices of [false, true]) {
    for (const atOnce of [AT_ONCE, 1]) {
      const what = `${slices ? 'with slices' : 'as ever'}, ${String(atOnce)} at once`
      print(`  ${what}: ${await row(slices, atOnce)}`)
    }
  }
}

print('A request over three nodes, one of which hangs:')
await rows()
print(`The same beside ${String(BUSY)} processes that keep the cores busy:`)
const busy = Array.from({ length: BUSY }, () =>
  spawn(process.execPath, [
    '-e',
    'const untilMs = Date.now() + 3e5; while (Date.now() < untilMs);',
  ]),
)
try {
  await rows()
} finally {
  for (const child of busy) child.kill('SIGKILL')
  await group.stop()
}
