// `make bench`: what a decision costs, as ratios to a server in the same run that decodes and answers the same
// messages and decides nothing. CPU time of the server process, so that the load beside it does not count.
import { execFileSync, fork, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkRequest, connect, prompt } from './load.js'
import type { Load } from './load.js'
import type { Listening, Sample, ServerKind } from './messages.js'

const KIB = 1024
const quick = process.argv.includes('--quick')
const ROUNDS = quick ? 3 : 9
const CALLS = quick ? 200 : 1000
const IN_FLIGHT = 16

interface Bench {
  readonly process: ChildProcess
  readonly load: Load
  readonly credentials: readonly string[]
}

function here(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url))
}

async function start(kind: ServerKind): Promise<Bench> {
  const child = fork(here('./server.js'), [kind])
  const [listening] = (await once(child, 'message')) as [Listening]
  return { process: child, load: connect(listening.address), credentials: listening.credentials }
}

async function sample(bench: Bench): Promise<Sample> {
  bench.process.send({ kind: 'sample' })
  const [answer] = (await once(bench.process, 'message')) as [Sample]
  return answer
}

let stream = 0
function requests(bench: Bench, count: number, bytes: number): readonly Buffer[] {
  return Array.from({ length: count }, () => {
    stream += 1
    const credential = bench.credentials[stream % bench.credentials.length] ?? ''
    return checkRequest(stream, credential, prompt(bytes))
  })
}

/** Microseconds of CPU per call. */
async function measure(
  bench: Bench,
  bytes: number,
  inFlight = IN_FLIGHT,
): Promise<{ micros: number; sample: Sample }> {
  const batch = requests(bench, CALLS, bytes)
  await sample(bench)
  const { failed } = await bench.load.send(batch, inFlight)
  const after = await sample(bench)
  if (failed > 0 || after.refused > 0) {
    throw new Error(`${String(failed)} calls failed, ${String(after.refused)} were refused`)
  }
  return { micros: after.cpuMicros / CALLS, sample: after }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

function print(line = ''): void {
  process.stdout.write(`${line}\n`)
}

async function compare(noop: Bench, tollgate: Bench, bytes: number): Promise<void> {
  await measure(noop, bytes)
  await measure(tollgate, bytes)
  const ratios: number[] = []
  const base: number[] = []
  const full: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const a = await measure(noop, bytes)
    const b = await measure(tollgate, bytes)
    base.push(a.micros)
    full.push(b.micros)
    ratios.push(b.micros / a.micros)
  }
  const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
  print(`Check, prompt of ${String(bytes / KIB)} KiB, every prompt another:`)
  print(
    `  ${median(ratios).toFixed(2)} x the no-op (${spread} over ${String(ROUNDS)} pairs of ${String(CALLS)} calls); ${median(full).toFixed(0)} against ${median(base).toFixed(0)} us of CPU per call`,
  )
  await explain(noop, tollgate, bytes)
}

/** Where the time goes, one call at a time: with more in flight a stage's clock would run while others have the turn. */
async function explain(noop: Bench, tollgate: Bench, bytes: number): Promise<void> {
  const wire = await measure(noop, bytes, 1)
  const full = await measure(tollgate, bytes, 1)
  const stages = Object.entries(full.sample.stageMicros).map(
    ([stage, micros]) => [stage, micros / CALLS] as const,
  )
  const known = stages.reduce((sum, [, micros]) => sum + micros, 0)
  const rest = full.micros - wire.micros - known
  const all = [['wire', wire.micros] as const, ...stages, ['answer and record', rest] as const]
  const told = all.map(([name, micros]) => `${name} ${micros.toFixed(0)}`).join(', ')
  print(`  where it goes, one call at a time: ${told} us`)
}

/** The longest that the event loop was held while 8 MiB bodies came beside small ones. */
async function loopDelay(bench: Bench): Promise<number> {
  const large = requests(bench, quick ? 2 : 6, 8 * KIB * KIB - 2 * KIB)
  const small = requests(bench, quick ? 100 : 1000, KIB)
  await bench.load.send(small.slice(0, 50), 8)
  await sample(bench)
  const [first] = await Promise.all([
    bench.load.send(large, 2),
    bench.load.send(small.slice(50), 4),
  ])
  if (first.failed > 0) throw new Error(`${String(first.failed)} large calls failed`)
  return (await sample(bench)).longestLoopDelayMs
}

const noop = await start('noop')
const tollgate = await start('tollgate')
try {
  await compare(noop, tollgate, KIB)
  await compare(noop, tollgate, 16 * KIB)
  const [without, with_] = [await loopDelay(noop), await loopDelay(tollgate)]
  print('Event loop while 8 MiB bodies come beside 1 KiB ones, longest delay:')
  print(
    `  ${with_.toFixed(1)} ms, the no-op that only receives them ${without.toFixed(1)} ms (${(with_ / without).toFixed(2)} x)`,
  )
} finally {
  for (const bench of [noop, tollgate]) {
    bench.load.close()
    bench.process.disconnect()
  }
}

const refusals = JSON.parse(
  execFileSync(process.execPath, [here('./refusals.js')], { encoding: 'utf8' }),
) as { kibBytes: number; of: string; micros: number[] }[]
print('Refused since a quota is used up, without the wire:')
for (const { kibBytes, of, micros } of refusals) {
  const [allowed] = refusals.filter((row) => row.kibBytes === kibBytes)
  const ratios = micros.map((each, round) => each / (allowed?.micros[round] ?? NaN))
  const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
  print(
    `  ${String(kibBytes)} KiB, ${of}: ${median(ratios).toFixed(2)} x an allowed one (${spread}), ${median(micros).toFixed(0)} us`,
  )
}

const partitions = execFileSync(process.execPath, ['--expose-gc', here('./partitions.js')], {
  encoding: 'utf8',
})
print('In memory:')
for (const { of, bytes } of JSON.parse(partitions) as { of: string; bytes: number }[]) {
  print(`  ${String(bytes)} bytes per ${of}`)
}

/** Where labelled texts lie beside the repository, if somebody put them there. */
const DATA_BESIDE = join('..', 'shared', 'data', 'inspection', 'train')

function holdsTexts(directory: string): boolean {
  return readdirSync(directory).some((name) => name.endsWith('.jsonl'))
}

/** The directory itself, or those right below it that hold texts. */
function directoriesOfTexts(directory: string): readonly string[] {
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) return []
  if (holdsTexts(directory)) return [directory]
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(directory, entry.name))
    .filter(holdsTexts)
}

const given = process.env['TOLLGATE_DATA']
const wanted = given === undefined || given === '' ? DATA_BESIDE : given
const directories = directoriesOfTexts(wanted)
for (const directory of directories) {
  print(`Inspection, on the texts in ${directory}:`)
  const { status } = spawnSync(process.execPath, [here('./inspection-quality.js'), directory], {
    stdio: 'inherit',
  })
  if (status !== 0) process.exitCode = 1
}
if (directories.length === 0) {
  const wants = 'a directory with *.jsonl, in it or right below it, for recall and false alarms'
  print(`Inspection: nothing in ${wanted}; TOLLGATE_DATA names ${wants}.`)
  // Whoever named one waits for its figures.
  if (wanted === given) process.exitCode = 1
}

const others = {
  ledger: 'what follows, alone',
  million: 'bytes of each of a million partitions',
  silent: 'how long a request waits for a Redis, or a node of a Cluster, that stands still',
  overshoot: 'how many of 64 at once pass a limit that fits 8',
}
print('Other figures:')
for (const [args, what] of Object.entries(others)) print(`  make bench ARGS=${args}: ${what}`)
