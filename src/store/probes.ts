import type { Call, Probe } from './call.js'

/**
 * The calls of late that a server did not answer, or was not asked. One of them is asked again where a store that
 * does not answer gets no calls: for its caller has been told that it is away. It is one of their scripts, which Redis
 * refuses as a whole while it has no memory left or takes no writes: another question would say that it is back.
 */
export interface Probes {
  /** Has failed, or was not asked. */
  failed(call: Call): void
  /** The server answers. */
  answered(): void
  /** The one that waits longest. */
  next(): Waiting | undefined
}

interface Waiting {
  readonly call: Call
  readonly probe: Probe
}

/** Each may be under keys that this user may not ask for, and so fail where others would not. */
const MAX_PROBES = 8

export function createProbes(): Probes {
  const waiting = new Map<string, Waiting>()
  return {
    failed(call) {
      const { probe } = call
      if (probe === undefined) return
      // Last in the queue: one that fails for a reason of its own keeps no other from being asked.
      waiting.delete(probe.of)
      waiting.set(probe.of, { call, probe })
      const [longest] = waiting.keys()
      if (waiting.size > MAX_PROBES && longest !== undefined) waiting.delete(longest)
    },
    answered() {
      if (waiting.size > 0) waiting.clear()
    },
    next: () => waiting.values().next().value,
  }
}
