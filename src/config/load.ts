import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { ConfigError } from '../errors.js'
import type { ConfigFault } from '../errors.js'
import type { Policy } from '../policy.js'
import { envoyTerms, noTerms } from './envoy-terms.js'
import type { EnvoyTerms } from './envoy-terms.js'
import { checkGrants } from './grants.js'
import { namedFiles } from './named-files.js'
import type { NamedFile } from './named-files.js'
import { policyFrom } from './policy-from.js'
import { isMapping, readPartly, wrong } from './partly.js'
import { checkRules } from './rules.js'
import { policyFile } from './schema.js'
import type { FileContent, SoundContent } from './schema.js'
import { resolveFile, settingsFrom } from './settings.js'
import type { RateLimitServiceSettings, ServerSettings } from './settings.js'
import { boundFaults, wholeFileFault } from './faults.js'
import type { KeyPath } from './faults.js'
import { maxFileBytes, readYaml } from './yaml-document.js'

/** One policy file, read whole. Plain data: it crosses from a worker thread. */
export interface Config {
  /** Takes effect at start. */
  readonly settings: ServerSettings
  /** Takes effect at every reload. */
  readonly policy: Policy
}

/** A policy file, read as far as it goes. */
export interface Reading {
  readonly faults: readonly ConfigFault[]
  /** Undefined where there is a fault. */
  readonly config: Config | undefined
  /** What the parts that are well formed ask of Envoy's file. */
  readonly envoyTerms: EnvoyTerms
  readonly files: readonly NamedFile[]
  /** Where its rate limit files are; undefined where it has none, or says so wrongly. */
  readonly rateLimits: Pick<RateLimitServiceSettings, 'configDir' | 'mergeDomains'> | undefined
}

/**
 * Reads a policy file.
 *
 * @param file its path: named in faults, and what relative paths in it start from
 * @throws ConfigError with every fault at once. Faults of the YAML syntax come alone, since what they hide
 *   cannot be known.
 */
export function loadConfig(file: string, text: string): Config {
  const { config, faults } = readPolicy(file, text)
  if (config === undefined) throw new ConfigError(faults)
  return config
}

/** `loadConfig`, with what is right beside what is not. */
export function readPolicy(file: string, text: string): Reading {
  return orNothing(() => readDocument(file, text))
}

/** `readConfig`, with what is right beside what is not. */
export function readPolicyFile(path: string, checkNamed = nothingNamed): Reading {
  return orNothing(() => readDocument(path, readText(path), checkNamed))
}

/** Finds faults of the files that a policy names; `check-files.ts` does. */
export type CheckNamed = (files: readonly NamedFile[]) => readonly ConfigFault[]

const nothingNamed: CheckNamed = () => []

function orNothing(read: () => Reading): Reading {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return {
      faults: error.faults,
      config: undefined,
      envoyTerms: noTerms,
      files: [],
      rateLimits: undefined,
    }
  }
}

/** @throws ConfigError nothing of it can be read */
function readDocument(file: string, text: string, checkNamed = nothingNamed): Reading {
  const document = readYaml(file, text, { aliases: 'refuse' })
  if (!isMapping(document.value)) {
    const keys = Object.keys(policyFile.shape).join(', ')
    throw new ConfigError([document.fault([], `a mapping with keys of ${keys}`)])
  }
  const faults: ConfigFault[] = []
  const fault = (at: KeyPath, expected: string): void => {
    faults.push(document.fault(at, expected))
  }
  const { content, sound } = readPartly(policyFile, document.value, {
    value: fault,
    key: (at, what, expected) => {
      faults.push(document.keyFault(at, what, expected))
    },
  })
  checkRules(content, fault)
  checkGrants(content, fault)
  const files = namedFiles(file, content, (at, expected) => document.fault(at, expected))
  faults.push(...checkNamed(files))
  return {
    faults: boundFaults(file, faults),
    config: faults.length === 0 && sound !== undefined ? configOf(file, text, sound) : undefined,
    envoyTerms: envoyTerms(content),
    files,
    rateLimits: rateLimitsOf(file, content),
  }
}

function rateLimitsOf(
  file: string,
  { rateLimitService: section }: FileContent,
): Reading['rateLimits'] {
  if (section === undefined || section === wrong) return undefined
  const { configDir, mergeDomains } = section
  if (configDir === wrong || mergeDomains === wrong) return undefined
  return { configDir: resolveFile(file, configDir), mergeDomains }
}

function configOf(file: string, text: string, content: SoundContent): Config {
  return {
    settings: settingsFrom(file, content),
    policy: policyFrom(file, generationOf(text), content),
  }
}

/** The same text is the same generation on every pod. */
export function generationOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}

/**
 * @param checkNamed also opens the files that the policy names, if given
 * @throws ConfigError the file cannot be read, is too large or is not UTF-8, or has faults
 */
export function readConfig(path: string, checkNamed?: CheckNamed): Config {
  const { config, faults } = readPolicyFile(path, checkNamed)
  if (config === undefined) throw new ConfigError(faults)
  return config
}

/**
 * @param kind `regular` refuses a pipe or device, which a reader could wait for without end; a command line may
 *   name one (`--policy <(...)`), and then its user waits
 * @throws ConfigError the file cannot be read, is larger than 1 MiB or is not UTF-8
 */
export function readText(path: string, kind: 'any' | 'regular' = 'any'): string {
  const refuse = (expected: string): ConfigError =>
    new ConfigError([wholeFileFault(path, expected)])
  let bytes: Buffer
  try {
    bytes = readAtMost(path, maxFileBytes + 1, kind)
  } catch (error) {
    throw unreadable(path, error)
  }
  if (bytes.length > maxFileBytes) throw refuse(`at most ${String(maxFileBytes)} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    const line = firstLineOf(bytes, (part) => !isUtf8(part))
    const value = 'in another encoding'
    throw new ConfigError([{ file: path, line, key: 'syntax', value, expected: 'UTF-8' }])
  }
}

/** A line ends with the same byte in UTF-8 and in whatever else extends ASCII. */
function firstLineOf(bytes: Buffer, holds: (line: Buffer) => boolean): number {
  let line = 1
  for (let from = 0; from < bytes.length; line += 1) {
    const end = bytes.indexOf('\n', from)
    const to = end === -1 ? bytes.length : end
    if (holds(bytes.subarray(from, to))) return line
    from = to + 1
  }
  return 0
}

const sayings: Readonly<Record<string, string>> = {
  ENOENT: '; there is none',
  EISDIR: '; this is a directory',
  ENOTDIR: '; this is a file',
  EACCES: '; this user may not read it',
}

/** What to say when the operating system refuses a file. */
export function unreadable(
  path: string,
  error: unknown,
  what: 'file' | 'directory' = 'file',
): ConfigError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
  return new ConfigError([
    wholeFileFault(path, `a readable ${what}${sayings[code] ?? ` (${code})`}`),
  ])
}

/** Bounded, so that a device or a growing file cannot fill the memory. */
function readAtMost(path: string, maxBytes: number, kind: 'any' | 'regular'): Buffer {
  // Without O_NONBLOCK, opening a pipe waits for its writer.
  const flags = kind === 'regular' ? constants.O_RDONLY | constants.O_NONBLOCK : constants.O_RDONLY
  const handle = openSync(path, flags)
  try {
    const found = fstatSync(handle)
    if (found.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' })
    if (kind === 'regular' && !found.isFile()) {
      throw Object.assign(new Error(), { code: 'not a regular file' })
    }
    const chunks: Buffer[] = []
    let length = 0
    while (length < maxBytes) {
      const chunk = Buffer.alloc(Math.min(65_536, maxBytes - length))
      const read = readSync(handle, chunk, 0, chunk.length, null)
      if (read === 0) break
      chunks.push(chunk.subarray(0, read))
      length += read
    }
    return Buffer.concat(chunks)
  } finally {
    closeSync(handle)
  }
}
