import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findRedis } from '../../deploy/demo/find-redis.js'

const pathBefore = process.env['PATH']
let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tg-path-'))
})
afterEach(() => {
  process.env['PATH'] = pathBefore
  rmSync(directory, { recursive: true })
})

/** Is the one on PATH taken, which says that it is of this version? */
function takes(version: string): boolean {
  const told = `Redis server v=${version} sha=00000000:0 malloc=libc bits=64 build=0`
  writeFileSync(join(directory, 'redis-server'), `#!/bin/sh\necho '${told}'\n`, { mode: 0o755 })
  process.env['PATH'] = `${directory}:${pathBefore ?? ''}`
  try {
    return findRedis().binary === 'redis-server'
  } catch {
    // Nor is there one in .deps.
    return false
  }
}

test('a Redis on PATH is taken from 7.0 on, by the Makefile, too', () => {
  const makefile = readFileSync(join(import.meta.dirname, '..', '..', 'Makefile'), 'utf8')
  const newEnough = new RegExp(/^redis_new_enough := (.*)$/m.exec(makefile)?.[1] ?? '^$')
  const versions = ['5.0.14', '6.2.14', '7.0.0', '7.2.4', '8.0.1', '10.0.0', '16.2.0']
  const taken = ['7.0.0', '7.2.4', '8.0.1', '10.0.0', '16.2.0']
  expect(versions.filter(takes)).toEqual(taken)
  expect(versions.filter((version) => newEnough.test(`Redis server v=${version} `))).toEqual(taken)
})
