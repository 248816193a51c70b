import { readFileSync } from 'node:fs'
import { systemClock } from '../src/clock.js'

export interface Times {
  readonly perSecond: number
  readonly p99Micros: number
}

/** Runs `once` `count` times, `inFlight` at a time. */
export async function measure(
  count: number,
  inFlight: number,
  once: () => Promise<unknown>,
): Promise<Times> {
  const micros: number[] = []
  let left = count
  const startedMs = systemClock.monotonicMs()
  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1
      const beganMs = systemClock.monotonicMs()
      await once()
      micros.push((systemClock.monotonicMs() - beganMs) * 1000)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const seconds = (systemClock.monotonicMs() - startedMs) / 1000
  micros.sort((a, b) => a - b)
  return { perSecond: count / seconds, p99Micros: micros[Math.floor(count * 0.99)] ?? NaN }
}

export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

/** As Linux counts it for most machines. */
const TICKS_PER_SECOND = 100

/** CPU time that a process has used, in steps of 10 ms; Linux alone tells. */
export function cpuMicrosOf(pid: number): number {
  const text = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
  // After the name, which stands in parentheses and may hold spaces: user time is field 14, system time 15.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND) * 1e6
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
