import type { ConfigFault, ConfigWarning } from '../../errors.js'
import { beyondLevel, buildConfig } from '../../ratelimit/tree.js'
import type { RateLimitConfig } from '../../ratelimit/tree.js'
import { wholeFileFault } from '../faults.js'
import type { KeyPath } from '../faults.js'
import { anotherKey, readRateLimitFile } from './file.js'
import type { FileReading } from './file.js'

export interface FileText {
  /** As it is named in faults. */
  readonly file: string
  readonly text: string
}

export interface FilesOptions {
  /** Files of one domain are one; else only one may be of it. */
  readonly mergeDomains: boolean
  /** In all files together; `descriptorBound` if not given. */
  readonly maxDescriptors?: number
}

/** Files that belong together, read as far as they go. */
export interface FilesReading {
  readonly faults: readonly ConfigFault[]
  readonly warnings: readonly ConfigWarning[]
  /** Undefined where there is a fault. */
  readonly config: RateLimitConfig | undefined
  readonly descriptorCount: number
}

/** A reload hands all of them from one thread to another, 4 µs each (measured), in pieces (`pieces.ts`). */
const descriptorBound = 20_000

/** Reads the files of one directory, in this order. */
export function readRateLimitFiles(
  texts: readonly FileText[],
  { mergeDomains, maxDescriptors = descriptorBound }: FilesOptions,
): FilesReading {
  const readings = texts.map(({ file, text }) => readRateLimitFile(file, text))
  const faults = readings.flatMap((reading) => reading.faults)
  const byDomain = new Map<string, FileReading[]>()
  for (const reading of readings.filter(({ domain }) => domain !== '')) {
    const same = byDomain.get(reading.domain)
    if (same === undefined) byDomain.set(reading.domain, [reading])
    else same.push(reading)
  }
  for (const same of byDomain.values()) {
    faults.push(...(mergeDomains ? mergeFaults(same) : repeatFaults(same)))
  }
  const descriptorCount = readings.reduce((sum, reading) => sum + reading.descriptorCount, 0)
  const [first] = readings
  if (descriptorCount > maxDescriptors && first !== undefined) {
    faults.push(
      wholeFileFault(
        first.file,
        `at most ${String(maxDescriptors)} descriptors in all files together, not ${String(descriptorCount)}`,
      ),
    )
  }
  return {
    faults,
    warnings: readings.flatMap((reading) => reading.warnings),
    config: faults.length === 0 ? buildConfig(readings) : undefined,
    descriptorCount,
  }
}

function repeatFaults([first, ...others]: readonly FileReading[]): readonly ConfigFault[] {
  const place = first === undefined ? '' : placeOf(first, ['domain'])
  return others.map((other) =>
    other.fault(
      ['domain'],
      `a domain of its own, or mergeDomains: true: duplicate domain, it is also that of ${place}`,
    ),
  )
}

/** As `edge.yaml:3`. */
function placeOf(reading: FileReading, at: KeyPath): string {
  return `${reading.file}:${String(reading.fault(at, '').line)}`
}

/** Only what has no other descriptor above it can be in two files: all below stands in the file of that one. */
function mergeFaults(same: readonly FileReading[]): readonly ConfigFault[] {
  const faults: ConfigFault[] = []
  const places = new Map<string, () => string>()
  for (const reading of same) {
    for (const { composite, at, what } of reading.roots) {
      const other = places.get(composite)
      if (other === undefined) {
        places.set(composite, () => placeOf(reading, at))
        continue
      }
      const expected = anotherKey(`${reading.domain}.${composite}`, `at ${other()}`)
      faults.push(reading.keyFault(at, what, expected))
    }
  }
  const beyond = beyondLevel([...places.keys()])
  const [first] = same
  if (beyond !== undefined && first !== undefined && same.length > 1) {
    faults.push(first.fault(['descriptors'], `${beyond}, in all files of the domain together`))
  }
  return faults
}
