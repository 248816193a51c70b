import fc from 'fast-check'
import { setImmediate as nextTick } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { ComingError, DependencyError } from '../../src/errors.js'
import type { End, Ended, Hold, Ledger, Tries } from '../../src/quota/ledger.js'
import type { RedisScripts } from '../../src/quota/redis/scripts.js'
import { UnansweredError } from '../../src/store/store.js'
import type { Reply } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { proofScale, runs } from '../runs.js'
import { until } from '../until.js'
import { passTime } from './sliced-nodes.js'
import { greedy } from './slicing.js'
import { holdsOnThreeNodes, openProcess, streamOf } from './three-nodes.js'

// As in `carriers.property.test.ts`, by processes that decide from slices on all three nodes, each of which they tell of
// it by turns of its own: in whatever order these come, whatever fails, and whatever is given up and reported meanwhile;
// also where a process has stood still since it knew the moment, so that what it tells a node comes late there.

const PROCESSES = 3
const LIMIT_MS = 120_000 * proofScale
const tuning = { ...greedy, share: { one: 4, all: 1 } }
const holds = holdsOnThreeNodes(100)

type Fate = 'runs' | 'unsent' | 'lost' | 'late'

interface Weather {
  scheduler: fc.Scheduler
  fates: Iterator<Fate>
  /** Has it stood still? */
  stood: Iterator<boolean>
  /** One of its calls failed. */
  hasFailed?: true
}
let weather: Weather | undefined
let underWay = 0

async function spoil(
  script: keyof RedisScripts,
  bucket: number,
  send: () => Promise<Reply>,
): Promise<Reply> {
  if (weather === undefined) return send()
  const { scheduler, fates } = weather
  const what = `${script} ${String(bucket)}`
  const fate = fates.next().value as Fate
  if (fate !== 'runs') weather.hasFailed = true
  underWay += 1
  try {
    await scheduler.schedule(Promise.resolve(), `${fate}: ${what}`)
    if (fate === 'unsent') throw new DependencyError('ledger', 'it was not sent')
    if (fate === 'late') {
      underWay += 1
      void scheduler
        .schedule(Promise.resolve(), `late: ${what}`)
        .then(send)
        .finally(() => (underWay -= 1))
      throw new UnansweredError('its answer is lost before it ran')
    }
    const reply = await send()
    await scheduler.schedule(Promise.resolve(), `answer: ${what}`)
    if (fate === 'lost') throw new UnansweredError('its answer is lost')
    return reply
  } finally {
    underWay -= 1
  }
}

function behindMs(): number {
  return weather?.stood.next().value === true ? 40_000 : 0
}

let group: ClusterGroup
let processes: readonly Ledger<string>[]
let onlooker: Ledger<string>
beforeAll(async () => {
  group = await startCluster()
  processes = Array.from({ length: PROCESSES }, () =>
    openProcess(group, { spoil, timeoutMs: LIMIT_MS, tuning, behindMs }),
  )
  onlooker = openProcess(group)
  // Connected to every node, for which a busy machine may need more than one call's time.
  for (const ledger of [...processes, onlooker]) {
    await until(() => ledger.balances(holds, Date.now()))
  }
})
afterAll(async () => {
  for (const ledger of [...processes, onlooker]) await ledger.close()
  await group.stop()
})

const processOf = (by: number): Ledger<string> => processes[by % PROCESSES] as Ledger<string>
const nowMs = (): number => Date.now()

/** Each has slices of all three, and nothing else is held. */
async function begin(): Promise<void> {
  // A case that failed has left its own.
  weather = undefined
  for (const ledger of processes) await ledger.balances(holds, nowMs())
  await group.flush()
  for (const ledger of processes) {
    const answer = await ledger.reserve(streamOf(holds), nowMs())
    if (answer.kind !== 'held') throw new Error('there is room')
    await ledger.end(answer.reservation.id, { kind: 'released' }, nowMs())
  }
}

/** All that began in the weather is over. */
async function calm({ scheduler }: Weather): Promise<void> {
  weather = undefined
  while (underWay > 0) {
    await scheduler.waitAll()
    await nextTick()
  }
}

async function balances() {
  // What nobody was admitted to is back.
  for (const ledger of processes) await ledger.balances(holds, nowMs())
  return onlooker.balances(holds, nowMs())
}

/** For so long a home remembers what has ended, by which what comes late waits. */
const REMEMBERED_MS = 150_000
const TRIES_BEFORE = 5

/** Until what was to be given back has been tried as often as it takes, and what waits has waited. */
async function expectInTheEnd(
  tell: (ended: Ended<string> | undefined) => void,
  figures: readonly (readonly [spent: number, reserved: number])[],
): Promise<void> {
  let tries = 0
  await vi.waitFor(
    async () => {
      if ((tries += 1) > TRIES_BEFORE) await passTime(group, REMEMBERED_MS)
      for (const ledger of processes) {
        for (const ended of await ledger.expire(nowMs())) tell(ended)
      }
      const told = await balances()
      expect(told.map(({ spent, reserved }) => [spent, reserved])).toEqual(figures)
    },
    { timeout: 20_000, interval: 10 },
  )
}

const settled: End = { kind: 'settled', inputTokens: 4, outputTokens: 0 }
const figuresOf = (what: 'held' | 'settled' | 'nothing') =>
  holds.map(({ amount, quota }: Hold) => {
    if (what === 'nothing') return [0, 0] as const
    if (what === 'held') return [0, amount] as const
    return [quota.unit === 'tokens' ? 4 : 0, 0] as const
  })

const fate = fc.oneof(
  { weight: 12, arbitrary: fc.constant('runs' as const) },
  { weight: 1, arbitrary: fc.constant('unsent' as const) },
  { weight: 2, arbitrary: fc.constant('lost' as const) },
  { weight: 2, arbitrary: fc.constant('late' as const) },
)
const stood = fc.oneof(
  { weight: 3, arbitrary: fc.constant(false) },
  { weight: 1, arbitrary: fc.constant(true) },
)
/** One call for the stream, and what comes of its answer: it is given up, reported at a process, or neither. */
const call = fc.record({
  by: fc.nat({ max: PROCESSES - 1 }),
  then: fc.constantFrom('stays' as const, 'is given up' as const, 'is reported' as const),
  at: fc.nat({ max: PROCESSES - 1 }),
})
/** What upkeep does beside it. */
const upkeep = fc.array(fc.nat({ max: PROCESSES - 1 }), { maxLength: 4 })

test(
  'a stream that processes decide from slices on three nodes is held whole as long as an answer carries it, is settled once, and no longer held then',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.infiniteStream(fate),
        fc.infiniteStream(stood),
        fc.array(call, { minLength: 1, maxLength: 3 }),
        upkeep,
        async (scheduler, fates, stands, calls, expired) => {
          await begin()
          const given: Weather = { scheduler, fates, stood: stands }
          const stream = streamOf(holds)
          const ended: string[] = []
          const tell = (told: Ended<string> | undefined): void => {
            if (told !== undefined) ended.push(told.outcome)
          }
          const carried: string[] = []
          let report: string | undefined
          let reporter = onlooker
          const tries: Tries<string> = {}
          let isFound = false

          async function ask(index: number): Promise<void> {
            const { by, then, at } = calls[index] as (typeof calls)[number]
            const id = `${stream.id}-call-${String(index)}`
            const answer = await processOf(by).reserve({ ...stream, id }, nowMs())
            if (answer.kind !== 'held') {
              // Where Redis does not hear that its process gives a slice back, what it refused stays refused.
              if (given.hasFailed) return
              throw new Error(`${answer.quota.name} is short`)
            }
            const reservation = answer.reservation.id
            if (then === 'is given up') {
              tell(await processOf(by).abandon(reservation, nowMs(), answer.carrier))
            } else if (then === 'stays' || report !== undefined) {
              carried.push(reservation)
            } else {
              report = reservation
              carried.push(reservation)
              reporter = processOf(at)
              await tryReport()
            }
          }

          /** As `meter` does, at the process that the report came to. */
          async function tryReport(): Promise<void> {
            if (report === undefined || ended.includes('settled')) return
            try {
              isFound ||= (await reporter.find(report, nowMs())) !== undefined
              if (isFound) tell(await reporter.end(report, settled, nowMs(), tries))
            } catch (error) {
              // It is kept, and told again.
              if (!(error instanceof ComingError)) throw error
            }
          }

          weather = given
          const tasks = [
            ...calls.map((_, index) => () => ask(index)),
            ...expired.map((by) => async () => {
              for (const told of await processOf(by).expire(nowMs())) tell(told)
            }),
          ]
          const outcomes = await scheduler.waitFor(
            Promise.allSettled(
              tasks.map(async (task) => {
                await scheduler.schedule(Promise.resolve(), 'a call')
                await task()
              }),
            ),
          )
          for (const outcome of outcomes) {
            if (outcome.status === 'rejected')
              expect(outcome.reason).toBeInstanceOf(DependencyError)
          }
          await calm(given)

          if (report !== undefined) {
            for (let times = 0; times < 3; times += 1) {
              for (const ledger of processes) {
                for (const told of await ledger.expire(nowMs())) tell(told)
              }
              await tryReport()
            }
            expect(ended.filter((outcome) => outcome === 'settled')).toEqual(['settled'])
            await expectInTheEnd(tell, figuresOf('settled'))
            return
          }
          await expectInTheEnd(tell, figuresOf(carried.length > 0 ? 'held' : 'nothing'))
          const found = await Promise.all(carried.map((id) => onlooker.find(id, nowMs())))
          expect(new Set(found.map((each) => each?.id)).size).toBe(carried.length > 0 ? 1 : 0)
          const [id] = carried
          if (id === undefined) return
          expect(await onlooker.end(id, settled, nowMs())).toMatchObject({ outcome: 'settled' })
          await expectInTheEnd(tell, figuresOf('settled'))
        },
      ),
      { numRuns: runs(100) },
    )
  },
  LIMIT_MS,
)
