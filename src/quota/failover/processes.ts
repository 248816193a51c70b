/** What a store says of the processes that share it. Moments are the store's own. */
export interface Census {
  readonly atMs: number
  /** Seen within the last minute, this one among them. */
  readonly processes: number
  /** The store did not know this process, and has not heard since that it was told so. */
  readonly joined: boolean
  /**
   * What the store said at this moment, all of them have received, or something later; below 0 where one that has joined
   * has received nothing yet.
   */
  readonly allToldMs: number
  /** The last that any process admitted by its own share; undefined: nothing that still matters. */
  readonly lastLocal: LastLocal | undefined
}

export interface LastLocal {
  readonly atMs: number
  /** Of all that was so admitted: by processes as they were counted at this moment, or earlier. */
  readonly countedMs: number
}

/** What a process says of itself. */
export interface Said {
  /** The moment of the last census that it received, of the store's; undefined: none. */
  readonly toldMs: number | undefined
  /** What it admitted by its own share, last. */
  readonly local: { readonly agoMs: number; readonly countedMs: number } | undefined
}

export interface Processes {
  /**
   * Says that this process is there, and asks who else is.
   *
   * @throws DependencyError the store did not answer, though it may have counted
   */
  census(said: Said): Promise<Census>
}

/** For how long a process counts after it was last seen. */
export const SEEN_MS = 60_000
