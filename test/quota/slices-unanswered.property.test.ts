import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import type { End, Ended } from '../../src/quota/ledger.js'
import { startRedis } from '../redis-server.js'
import type { RedisServer } from '../redis-server.js'
import { runs } from '../runs.js'
import { answerOf, atMs, figuresIn, openSpoilt, standing } from './spoilt-turns.js'
import type { SpoiltProcess, TurnFate } from './spoilt-turns.js'

/** Two are asked for the stream; the third gets reports alone. */
const PROCESSES = 3
const ASKED = 2

let redis: RedisServer
let processes: readonly SpoiltProcess[]
beforeAll(async () => {
  redis = await startRedis()
  processes = Array.from({ length: PROCESSES }, () => openSpoilt(redis))
})
afterAll(async () => {
  for (const ledger of processes) await ledger.close()
  await redis.stop()
})

const asked = fc.nat({ max: ASKED - 1 })
const which = fc.nat({ max: 20 })
/** False: what comes next comes at the same time. */
const waits = fc.boolean()
const command = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('reserve' as const), by: asked }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('abandon' as const), which, waits }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('report' as const),
      by: fc.nat({ max: PROCESSES - 1 }),
      which,
      waits,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('spoil' as const),
      by: asked,
      fate: fc.constantFrom<TurnFate>('runs', 'unsent', 'lost'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('expire' as const), by: asked }) },
)
type Command = typeof command extends fc.Arbitrary<infer Value> ? Value : never

interface Answer {
  readonly by: SpoiltProcess
  readonly id: string
  readonly carrier: string
}

const settled: End = { kind: 'settled', inputTokens: 5, outputTokens: 0 }

/** All that the processes do with one stream, and what they tell of it. */
function createWalk(nowMs: number) {
  const stream = `stream ${String(nowMs)}`
  const answers: Answer[] = []
  const ended: string[] = []
  const underWay: Promise<void>[] = []
  let report: { readonly by: SpoiltProcess; readonly id: string } | undefined
  let asks = 0

  const processOf = (by: number) => processes[by] as SpoiltProcess
  const tell = ({ reservation, outcome }: Ended<string>): void => {
    ended.push(`${reservation.id} ${outcome}`)
  }
  const unlessLost = (error: unknown): void => {
    expect(error).toBeInstanceOf(DependencyError)
  }

  async function expire(ledger: SpoiltProcess): Promise<void> {
    for (const each of await ledger.expire(nowMs)) tell(each)
  }

  async function abandon({ by, id, carrier }: Answer): Promise<void> {
    const told = await by.abandon(id, nowMs, carrier)
    if (told !== undefined) tell(told)
  }

  async function reportOnce(): Promise<void> {
    if (report === undefined || ended.some((each) => each.endsWith(' settled'))) return
    const { by, id } = report
    if ((await by.find(id, nowMs)) === undefined) return
    const told = await by.end(id, settled, nowMs)
    if (told !== undefined) tell(told)
  }

  async function start(work: Promise<void>, isAwaited: boolean): Promise<void> {
    const done = work.catch(unlessLost)
    underWay.push(done)
    if (isAwaited) await done
  }

  async function run(step: Command): Promise<void> {
    if (step.do === 'spoil') processOf(step.by).turns.fate = step.fate
    if (step.do === 'expire') await expire(processOf(step.by)).catch(unlessLost)
    // A stream whose report has come is asked for no more.
    if (step.do === 'reserve' && report === undefined) {
      const by = processOf(step.by)
      const request = answerOf(stream, `${stream} ${String((asks += 1))}`)
      const answer = await by.reserve(request, nowMs).catch(unlessLost)
      if (answer?.kind !== 'held') return
      answers.push({ by, id: answer.reservation.id, carrier: answer.carrier })
    }
    if (step.do === 'abandon' && answers.length > 0) {
      const [answer] = answers.splice(step.which % answers.length, 1)
      if (answer !== undefined) await start(abandon(answer), step.waits)
    }
    if (step.do === 'report' && answers.length > 0 && report === undefined) {
      const [answer] = answers.splice(step.which % answers.length, 1)
      if (answer === undefined) return
      report = { by: processOf(step.by), id: answer.id }
      await start(reportOnce(), step.waits)
    }
  }

  /** Redis answers again, upkeep has come by everywhere, and reports that failed have come again. */
  async function calm(): Promise<void> {
    await Promise.all(underWay)
    for (const { turns } of processes) turns.fate = 'runs'
    // One that is under way may fail yet.
    for (const ledger of processes) await expire(ledger).catch(unlessLost)
    for (let times = 0; times < 3; times += 1) {
      for (const ledger of processes) await expire(ledger)
      await reportOnce()
    }
  }

  return {
    run,
    calm,
    isReported: () => report !== undefined,
    ended,
    /** What it has passed is held, and every process finds it. */
    async expectHeld(): Promise<void> {
      if (report !== undefined) return
      for (const { id } of answers) {
        for (const ledger of processes) expect(await ledger.find(id, nowMs)).toBeDefined()
      }
    },
    async abandonAll(): Promise<void> {
      for (const answer of answers.splice(0)) await abandon(answer)
    },
  }
}

/** Each process has slices, and nothing else is held. */
async function begin(nowMs: number): Promise<void> {
  await redis.client.flushall()
  for (const [index, ledger] of processes.entries()) {
    const id = `warm ${String(index)} ${String(nowMs)}`
    await ledger.reserve(answerOf(id, id), nowMs)
    await ledger.end(id, { kind: 'released' }, nowMs)
  }
}

/** What stands in Redis when all slices are back. */
async function figures(nowMs: number) {
  for (const ledger of processes) await figuresIn(ledger, nowMs)
  return figuresIn(processes[ASKED] as SpoiltProcess, nowMs)
}

test('a stream is held as long as an answer carries it, settled once by its report, and no longer held then', async () => {
  let nowMs = atMs
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 4, maxLength: 14 }), async (steps) => {
      await begin((nowMs += 1000))
      const walk = createWalk(nowMs)
      for (const step of steps) await walk.run(step)
      await walk.calm()
      await walk.expectHeld()
      await walk.abandonAll()
      await walk.calm()
      const settlements = walk.ended.filter((each) => each.endsWith(' settled'))
      expect(settlements).toHaveLength(walk.isReported() ? 1 : 0)
      expect(new Set(walk.ended).size, 'none told twice').toBe(walk.ended.length)
      expect(await figures(nowMs)).toEqual(standing(0, settlements.length))
    }),
    { numRuns: runs(60) },
  )
})
