/** One fault of a configuration file, complete enough to be mended without reading the code. */
export interface ConfigFault {
  readonly file: string
  /** 1-based line of the offending node; 0 when the fault is about the file as a whole. */
  readonly line: number
  /** Path of the key, as in `quotas[0].limit`. */
  readonly key: string
  /** The value as written, shortened to 80 characters; secrets are never passed here. */
  readonly value: string
  /** What would be right. */
  readonly expected: string
}

/** The configuration cannot be used; carries every fault that was found, not the first. */
export class ConfigError extends Error {
  readonly faults: readonly ConfigFault[]

  constructor(faults: readonly ConfigFault[]) {
    super(faults.map(formatFault).join('\n'))
    this.name = 'ConfigError'
    this.faults = faults
  }
}

export function formatFault(fault: ConfigFault): string {
  const place = fault.line === 0 ? fault.file : `${fault.file}:${String(fault.line)}`
  const value = fault.value === '' ? '' : ` is ${fault.value};`
  // A fault of the file as a whole needs no key: the file is named.
  const what = fault.line === 0 && fault.key === 'file' ? '' : `${fault.key}${value} `
  return `${place}: ${what}expected ${fault.expected}`
}

/** Something that is used, though not as it looks. `value` and `expected` are as those of a fault. */
export interface ConfigWarning extends ConfigFault {
  /** What is made of it, as `no effect`. */
  readonly holds: string
}

/** As `formatFault`, with what holds behind the value. */
export function formatWarning(warning: ConfigWarning): string {
  const { value, holds } = warning
  return formatFault({ ...warning, value: `${value} (${holds})` })
}

/** What a dependency is, in logs and metric labels: a closed list. */
export type Dependency =
  'identity_provider' | 'ledger' | 'audit' | 'inspection' | 'rate_limit_store'

/**
 * A part that Tollgate needs did not answer, or not in time. It is a failure, never a verdict: it
 * travels to the one catch in `server.ts` and becomes a gRPC error, so that Envoy's failure mode decides.
 * The message is safe to log; `cause` is for the log only and must not hold a credential or a prompt.
 */
export class DependencyError extends Error {
  readonly dependency: Dependency

  constructor(dependency: Dependency, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'DependencyError'
    this.dependency = dependency
  }
}

/**
 * The dependency answered, and what it said leaves the call undecided. A failure as any other of it to the caller; but
 * it is there, so nothing that holds for its absence does (`onStoreFailure`).
 */
export class UndecidedError extends DependencyError {
  constructor(dependency: Dependency, message: string, options?: { cause?: unknown }) {
    super(dependency, message, options)
    this.name = 'UndecidedError'
  }
}

/**
 * What the call is about is not there yet, and the dependency knows that it comes: it is asked for again for as long as
 * that is so.
 */
export class ComingError extends UndecidedError {
  constructor(dependency: Dependency, message: string) {
    super(dependency, message)
    this.name = 'ComingError'
  }
}

/** A part of the dependency did not answer, and what the others hold is on its way back: they may be asked alone. */
export class PartError extends DependencyError {
  /** What of the call concerns the part that failed, by its place. */
  readonly places: readonly number[]
  /** Has all that the others held come back? Said when it has, or when it cannot any more in time. Never rejects. */
  readonly isBack: Promise<boolean>
  /** What an earlier call with the same key holds all of it by: it is not to be held beside that. */
  readonly heldBy: string | undefined

  constructor(
    dependency: Dependency,
    message: string,
    places: readonly number[],
    isBack: Promise<boolean> = Promise.resolve(true),
    heldBy?: string,
  ) {
    super(dependency, message)
    this.name = 'PartError'
    this.places = places
    this.isBack = isBack
    this.heldBy = heldBy
  }
}

/** The caller (Envoy) gave up or its deadline passed: whatever was held must be released. */
export class AbandonedError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'AbandonedError'
  }
}

/** A call that the protocol does not allow: wrong domain, contradictory descriptors, a peer that may not call. */
export class InvalidCallError extends Error {
  /** `unspecified`: what envoyproxy/ratelimit, whose answer is given, has no status for but UNKNOWN. */
  readonly fault: 'invalid_argument' | 'permission_denied' | 'unspecified'

  constructor(fault: InvalidCallError['fault'], message: string) {
    super(message)
    this.name = 'InvalidCallError'
    this.fault = fault
  }
}
