import fc from 'fast-check'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { DependencyError } from '../../src/errors.js'
import type { End, Held, Ledger } from '../../src/quota/ledger.js'
import type { OnStoreFailure } from '../../src/quota/quota.js'
import type { RedisScripts } from '../../src/quota/redis/scripts.js'
import { UnansweredError } from '../../src/store/store.js'
import type { Reply } from '../../src/store/store.js'
import { startCluster } from '../redis-cluster.js'
import type { ClusterGroup } from '../redis-cluster.js'
import { proofScale, runs } from '../runs.js'
import { until } from '../until.js'
import { away, home, openProcess, reservedIn, streamOf, third } from './three-nodes.js'

const PROCESSES = 3
const WHOLE = [10, 10, 1]
const NOTHING = [0, 0, 0]

/**
 * Of the test, and of each call: the weather alone says what fails. Were a call's time to run out on a busy machine,
 * what it gives back would go on behind it, in a scheduler that runs no more.
 */
const LIMIT_MS = 120_000 * proofScale

/** `unsent`: it fails at once. `lost`: it runs, and its answer is lost. `late`: so it is, and it runs when it likes. */
type Fate = 'runs' | 'unsent' | 'lost' | 'late'

/** How the scripts of all processes fare, and in which order they and their answers come. */
interface Weather {
  scheduler: fc.Scheduler
  fates: Iterator<Fate>
  /** Is a node silent, as a process sees it? Then it does not wait for what may yet come there. */
  silences: Iterator<boolean>
  late: Promise<unknown>[]
}
let weather: Weather | undefined

function spoil(
  script: keyof RedisScripts,
  bucket: number,
  send: () => Promise<Reply>,
): Promise<Reply> {
  if (weather === undefined) return send()
  const answer = spoilt(weather, script, bucket, send)
  // Nobody may wait for it.
  weather.late.push(answer)
  return answer
}

async function spoilt(
  { scheduler, fates, late }: Weather,
  script: keyof RedisScripts,
  bucket: number,
  send: () => Promise<Reply>,
): Promise<Reply> {
  const what = `${script} ${String(bucket)}`
  const fate = fates.next().value as Fate
  await scheduler.schedule(Promise.resolve(), `${fate}: ${what}`)
  if (fate === 'unsent') throw new DependencyError('ledger', 'it was not sent')
  if (fate === 'late') {
    late.push(scheduler.schedule(Promise.resolve(), `late: ${what}`).then(send))
    throw new UnansweredError('its answer is lost before it ran')
  }
  const reply = await send()
  await scheduler.schedule(Promise.resolve(), `answer: ${what}`)
  if (fate === 'lost') throw new UnansweredError('its answer is lost')
  return reply
}

let group: ClusterGroup
let processes: readonly Ledger<string>[]
let onlooker: Ledger<string>
beforeAll(async () => {
  group = await startCluster()
  processes = Array.from({ length: PROCESSES }, () =>
    openProcess(group, {
      spoil,
      timeoutMs: LIMIT_MS,
      silentMs: () => (weather?.silences.next().value === true ? LIMIT_MS : 0),
    }),
  )
  onlooker = openProcess(group)
  // Connected to every node, for which a busy machine may need more than one call's time.
  for (const ledger of [...processes, onlooker]) {
    await until(() => ledger.balances(streamOf().holds, Date.now()))
  }
})
afterAll(async () => {
  for (const ledger of [...processes, onlooker]) await ledger.close()
  await group.stop()
})

interface Passed {
  readonly by: Ledger<string>
  readonly answer: Held<string>
}

const processOf = (by: number): Ledger<string> => processes[by % PROCESSES] as Ledger<string>

/** All at once in this weather; what fails does so as a failure of the store. */
async function inWeather<T>(given: Weather, tasks: readonly (() => Promise<T>)[]) {
  weather = given
  const outcomes = await given.scheduler.waitFor(
    Promise.allSettled(
      tasks.map(async (task) => {
        await given.scheduler.schedule(Promise.resolve(), 'a call')
        return task()
      }),
    ),
  )
  for (const outcome of outcomes) {
    if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(DependencyError)
  }
  return outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
}

/**
 * What came late has come, and what processes have to give back they have tried until Redis answered: on a busy
 * machine a call can fail beyond the weather's, and `expire` does not tell of that where it has ended anything.
 */
async function expectInTheEnd(
  { scheduler, late }: Weather,
  reserved: readonly number[],
): Promise<void> {
  while (late.length > 0) await scheduler.waitFor(Promise.allSettled(late.splice(0)))
  weather = undefined
  await vi.waitFor(
    async () => {
      for (const ledger of processes) await ledger.expire(Date.now())
      expect(await reservedIn(onlooker)).toEqual(reserved)
    },
    { timeout: 20_000, interval: 10 },
  )
}

/** Something more may be on its way back. */
async function expectAtLeastWhole(): Promise<void> {
  const reserved = await reservedIn(onlooker)
  for (const [index, amount] of WHOLE.entries()) {
    expect(reserved[index]).toBeGreaterThanOrEqual(amount)
  }
}

/** A silent node is done without where its quota does not deny what it cannot be asked about. */
const dispensable = [home, away, third].map((hold) => {
  const onStoreFailure: OnStoreFailure = 'allow'
  return { ...hold, quota: { ...hold.quota, onStoreFailure } }
})

const settled: End = { kind: 'settled', inputTokens: 4, outputTokens: 0 }
const fate = fc.oneof(
  { weight: 12, arbitrary: fc.constant('runs' as const) },
  { weight: 1, arbitrary: fc.constant('unsent' as const) },
  { weight: 2, arbitrary: fc.constant('lost' as const) },
  { weight: 2, arbitrary: fc.constant('late' as const) },
)

test(
  'a stream that several processes are asked for is held whole as long as an answer carries it, and no longer',
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.infiniteStream(fate),
        fc.infiniteStream(fc.boolean()),
        fc.array(fc.nat({ max: PROCESSES - 1 }), { minLength: 1, maxLength: 3 }),
        fc.nat({ max: 3 }),
        async (scheduler, fates, silences, askedOf, lost) => {
          // A case that failed has left its own.
          weather = undefined
          await group.flush()
          const given: Weather = { scheduler, fates, silences, late: [] }
          const stream = streamOf(dispensable)
          const passed: Passed[] = await inWeather(
            given,
            askedOf.map((by, index) => async () => {
              const id = `${stream.id}-call-${String(index)}`
              const answer = await processOf(by).reserve({ ...stream, id }, Date.now())
              if (answer.kind !== 'held') throw new Error(`${answer.quota.name} is short`)
              return { by: processOf(by), answer }
            }),
          )
          expect(new Set(passed.map(({ answer }) => answer.reservation.id)).size).toBeLessThan(2)
          if (passed.length > 0) await expectAtLeastWhole()
          await expectInTheEnd(given, passed.length > 0 ? WHOLE : NOTHING)

          const gone = passed.slice(0, lost)
          const ended = await inWeather(
            given,
            gone.map(({ by, answer }) => async () => {
              return by.abandon(answer.reservation.id, Date.now(), answer.carrier)
            }),
          )
          expect(ended.filter((each) => each !== undefined).length).toBeLessThan(2)
          const [carried] = passed.slice(lost)
          if (carried !== undefined) await expectAtLeastWhole()
          await expectInTheEnd(given, carried === undefined ? NOTHING : WHOLE)

          if (carried === undefined) return
          const { id } = carried.answer.reservation
          expect(await onlooker.end(id, settled, Date.now())).toMatchObject({ outcome: 'settled' })
          const balances = await onlooker.balances(stream.holds, Date.now())
          expect(balances.map(({ spent, reserved }) => [spent, reserved])).toEqual([
            [4, 0],
            [4, 0],
            [0, 0],
          ])
        },
      ),
      { numRuns: runs(200) },
    )
  },
  LIMIT_MS,
)
