import { createHash } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { ConfigError } from '../../errors.js'
import { MIB_BYTES } from '../../units.js'
import { wholeFileFault } from '../faults.js'
import { unreadable } from '../load.js'

/** Directories below each other. */
const maxDepth = 8
/** Each is read once a second: 1,000 of them would take several times as long as 1,000 files. */
const maxDirectories = 100
const maxFiles = 1000
/** What is no file costs a look, too: a link that leads nowhere, or where another has led. */
const maxNames = 2000
const maxTotalBytes = 8 * MIB_BYTES

export interface DirectoryLook {
  /** In the order of their names. */
  readonly files: readonly string[]
  /** Another one whenever a file was added, removed, written or swapped. */
  readonly content: string
}

/**
 * The files of a directory and of those below it, whatever they are called. Names with a dot in front are left out:
 * in them Kubernetes keeps what its links lead to, which would be every file twice. A link to a directory is followed,
 * as Kubernetes makes one of `items` with a `path` of several parts; but each directory is read once, and under its own
 * name if it has one here.
 *
 * @throws ConfigError there are too many, they are too large, or a directory cannot be read
 */
export function lookAtDirectory(directory: string): DirectoryLook {
  const refuse = (expected: string): ConfigError =>
    new ConfigError([wholeFileFault(directory, expected)])
  const files: string[] = []
  const links: Place[] = []
  const visited = new Set<string>()
  const hash = createHash('sha256')
  let totalBytes = 0n
  let names = 0
  const walk = ({ path, depth }: Place): void => {
    const stats = statOf(path)
    const identity = `${String(stats?.dev)} ${String(stats?.ino)}`
    if (visited.has(identity)) return
    if (depth > maxDepth) throw refuse(`at most ${String(maxDepth)} directories below each other`)
    if (visited.size === maxDirectories) {
      throw refuse(`at most ${String(maxDirectories)} directories`)
    }
    visited.add(identity)
    const entries = entriesOf(path)
    names += entries.length
    if (names > maxNames) throw refuse(`at most ${String(maxNames)} names, those of links included`)
    for (const { name, isLink } of entries) {
      if (name.startsWith('.')) continue
      const entry = join(path, name)
      const stats = statOf(entry)
      if (stats === undefined) continue
      if (stats.isDirectory()) {
        const place = { path: entry, depth: depth + 1 }
        if (isLink) links.push(place)
        else walk(place)
        continue
      }
      files.push(entry)
      totalBytes += stats.size
      if (files.length > maxFiles) throw refuse(`at most ${String(maxFiles)} files`)
      if (totalBytes > maxTotalBytes) {
        throw refuse(`files of at most ${String(maxTotalBytes)} bytes together`)
      }
      const { dev, ino, size, mtimeNs, ctimeNs } = stats
      hash.update(JSON.stringify([entry, ...[dev, ino, size, mtimeNs, ctimeNs].map(String)]))
    }
  }
  walk({ path: directory, depth: 1 })
  // It grows while it is walked: links may stand below links.
  for (const link of links) walk(link)
  return { files: inOrder(directory, files), content: hash.digest('hex') }
}

interface Place {
  readonly path: string
  readonly depth: number
}

/** Of the names of directories first, as a walk along the names would find them. */
function inOrder(directory: string, files: readonly string[]): readonly string[] {
  return files
    .map((file) => ({ file, names: relative(directory, file).split(sep) }))
    .sort((left, right) => {
      const at = left.names.findIndex((name, index) => name !== right.names[index])
      return (left.names[at] ?? '') < (right.names[at] ?? '') ? -1 : 1
    })
    .map(({ file }) => file)
}

function entriesOf(path: string): readonly { readonly name: string; readonly isLink: boolean }[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .map((entry) => ({ name: entry.name, isLink: entry.isSymbolicLink() }))
      .sort((left, right) => (left.name < right.name ? -1 : 1))
  } catch (error) {
    throw unreadable(path, error, 'directory')
  }
}

/** Undefined: it went away in the meantime, or is a link that leads nowhere. */
function statOf(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false })
  } catch (error) {
    throw unreadable(path, error)
  }
}
