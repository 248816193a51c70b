import { readFileSync } from 'node:fs'
import { createScript } from '../../store/store.js'
import type { Script } from '../../store/store.js'

/** The scripts of `lua/`; each file says what it takes and what it answers. */
export interface RedisScripts {
  readonly reserve: Script
  readonly end: Script
  readonly expire: Script
  readonly find: Script
  readonly coming: Script
  readonly join: Script
  readonly balances: Script
  readonly turn: Script
  readonly slices: Script
}

export function loadRedisScripts(): RedisScripts {
  const prelude = read('prelude')
  const withSlices = prelude + read('sliced')
  return {
    reserve: withPrelude(prelude, 'reserve'),
    end: withPrelude(prelude, 'end'),
    expire: withPrelude(withSlices, 'expire', 'slot'),
    find: withPrelude(prelude, 'find'),
    coming: withPrelude(prelude, 'coming'),
    join: withPrelude(prelude, 'join'),
    balances: withPrelude(prelude, 'balances'),
    turn: withPrelude(withSlices + read('adoptions'), 'turn'),
    slices: withPrelude(prelude, 'slices'),
  }
}

/** A script's first line (`#!lua`, its flags) has to stay the first. */
function withPrelude(
  prelude: string,
  name: keyof RedisScripts,
  touches?: Script['touches'],
): Script {
  const text = read(name)
  const firstLineEnds = text.indexOf('\n') + 1
  return createScript(text.slice(0, firstLineEnds) + prelude + text.slice(firstLineEnds), touches)
}

function read(name: string): string {
  return readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')
}
