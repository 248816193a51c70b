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
  /** The same, which a full Redis runs too. */
  readonly turnWhenFull: Script
  readonly slices: Script
}

/** What each script begins with, in this order (`lua/common/`). */
const COMMON = ['call', 'windows', 'debt', 'partitions', 'reservations']

export function loadRedisScripts(): RedisScripts {
  const common = COMMON.map(readCommon).join('\n')
  const withSlices = `${common}\n${readCommon('sliced')}`
  const withAdoptions = `${withSlices}\n${readCommon('adoptions')}`
  return {
    reserve: scriptAfter(common, 'reserve'),
    end: scriptAfter(common, 'end'),
    expire: scriptAfter(withSlices, 'expire', 'slot'),
    find: scriptAfter(common, 'find'),
    coming: scriptAfter(common, 'coming'),
    join: scriptAfter(common, 'join'),
    balances: scriptAfter(common, 'balances'),
    turn: scriptAfter(withAdoptions, 'turn'),
    turnWhenFull: scriptAfter(withAdoptions, 'turn', 'keys', '#!lua flags=allow-oom\n'),
    slices: scriptAfter(common, 'slices'),
  }
}

/** A script's first line (`#!lua`, its flags) has to stay the first. @param firstLine instead of the file's own */
function scriptAfter(
  common: string,
  name: Exclude<keyof RedisScripts, 'turnWhenFull'>,
  touches?: Script['touches'],
  firstLine?: string,
): Script {
  const text = read(name)
  const firstLineEnds = text.indexOf('\n') + 1
  const first = firstLine ?? text.slice(0, firstLineEnds)
  return createScript(first + common + text.slice(firstLineEnds), touches)
}

function readCommon(name: string): string {
  return read(`common/${name}`)
}

function read(name: string): string {
  return readFileSync(new URL(`./lua/${name}.lua`, import.meta.url), 'utf8')
}
