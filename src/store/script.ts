import { createHash } from 'node:crypto'

/** A Lua script that a store runs by its digest. Its text is written by hand, never made from data. */
export interface Script {
  readonly text: string
  /** SHA-1 in hex: how Redis knows a script. */
  readonly digest: string
}

export function createScript(text: string): Script {
  return { text, digest: createHash('sha1').update(text).digest('hex') }
}
