/** What a store says of the processes that share it. Moments are the store's own. */
export interface Census {
  readonly atMs: number
  /** Seen within the last minute, this one among them. */
  readonly processes: number
  /** This process was not among those that were seen within the minute before. */
  readonly joined: boolean
  /** When the one of them was last seen that has been silent for longest. */
  readonly oldestMs: number
  /** When any process last admitted something by its own share; undefined: none that still matters. */
  readonly lastLocalMs: number | undefined
}

export interface Processes {
  /**
   * Says that this process is there, and asks who else is.
   *
   * @param localAgoMs how long ago this process last admitted something by its own share
   * @throws DependencyError the store did not answer
   */
  census(localAgoMs: number | undefined): Promise<Census>
}

/** For how long a process counts after it was last seen. */
export const SEEN_MS = 60_000
