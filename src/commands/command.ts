/** What a command says to the world, as an argument: a test reads it back. */
export interface Terminal {
  /** Results. */
  out(line: string): void
  /** Faults and progress. */
  err(line: string): void
  /** Overwrites one line of progress; undefined when nobody watches. */
  readonly progress: ((line: string) => void) | undefined
  /** Standard input to its end; undefined once it is more than `maxBytes`. */
  readInput(maxBytes: number): Promise<Buffer | undefined>
}

export interface Command {
  readonly name: string
  /** One line for the list of commands. */
  readonly summary: string
  /** What `--help` prints: usage, options, exit codes. */
  readonly help: string
  /**
   * @param args what follows the command's name
   * @returns the exit code, as `help` documents it
   * @throws UsageError the arguments cannot be understood
   * @throws ConfigError a file that it needs is not usable
   */
  run(args: readonly string[], terminal: Terminal): Promise<number>
}

/** The command line is wrong; ends the program with exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

export const exitCodes = {
  ok: 0,
  /** Faults, a broken chain, a policy that cannot be used. */
  failed: 1,
  usage: 2,
  /** `inspect` found something that blocks. */
  blocked: 3,
} as const
