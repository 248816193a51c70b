/** What a store says of the processes that share it. Moments are the store's own. */
export interface Census {
  readonly atMs: number
  /** Seen within the last minute, this one among them. */
  readonly processes: number
  /** What this process may claim from now on, for each horizon. */
  readonly claims: readonly number[]
  /** When the store began to know of claims: another one has lost its memory. */
  readonly bornMs: number
  readonly version: number
  /** What all claim, as the store has it; undefined: what the process was told last. */
  readonly table: string | undefined
}

/**
 * What a process says of itself. A claim is a whole number d, for a d-th of each limit whose window forgets within the
 * horizon; 0: nothing.
 */
export interface Said {
  /** The same for all processes, and ascending. */
  readonly horizonsMs: readonly number[]
  /** Processes that share the limits, at least. */
  readonly atLeast: number
  /** What it believes that it may hold, at most. */
  readonly claims: readonly number[]
  /** When it last held something by its claims, and by which at most. */
  readonly used: { readonly agoMs: number; readonly divisors: readonly number[] } | undefined
  /** Of the last census that it received; 0: none. */
  readonly bornMs: number
  readonly version: number
  /** What a store knew that has lost its memory, and what its clock would show now. */
  readonly known: { readonly atMs: number; readonly entries: string } | undefined
  /** It claims nothing any more, and does not come back. */
  readonly leaving: boolean
}

export interface Processes {
  /**
   * Says that this process is there, and asks what it may claim. One at a time.
   *
   * @throws DependencyError the store did not answer, though it may have counted
   */
  census(said: Said): Promise<Census>
}
