import { createHash } from 'node:crypto'

/** A Lua script that a store runs by its digest. Its text is written by hand, never made from data. */
export interface Script {
  readonly text: string
  /** SHA-1 in hex: how Redis knows a script. */
  readonly digest: string
  /**
   * `keys`: no other keys than those that a call names. `slot`: it finds others of their slot. While that slot
   * is being moved, a key that has not come yet looks like one that never was, and Redis watches over the named
   * ones alone; so a script that finds others is not run at the node which the slot is moved to.
   */
  readonly touches: 'keys' | 'slot'
}

export function createScript(text: string, touches: Script['touches'] = 'keys'): Script {
  return { text, digest: createHash('sha1').update(text).digest('hex'), touches }
}
