import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

export const root = join(import.meta.dirname, '..')

const notOurs = new Set(['node_modules', 'dist', '.deps', '.git'])

function filesBelow(directory: string): readonly string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (notOurs.has(entry.name)) return []
    const path = join(directory, entry.name)
    return entry.isDirectory() ? filesBelow(path) : [relative(root, path)]
  })
}

/** Every document of the repository, relative to its root. */
export const documents = filesBelow(root).filter((file) => file.endsWith('.md'))

/** @param file relative to the root of the repository */
export function read(file: string): string {
  return readFileSync(join(root, file), 'utf8')
}

/** What a document shows as code: blocks between fences, and spans between back-ticks. */
export function codeOf(file: string): readonly string[] {
  const text = read(file)
  const fenced = /^```[^\n]*\n([\s\S]*?)^```/gm
  const blocks = [...text.matchAll(fenced)].map((match) => match[1] ?? '')
  return [...blocks, ...spansOf(text.replace(fenced, ''))]
}

/** The texts between back-ticks of one line or cell. */
export function spansOf(text: string): readonly string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '')
}

/** The rows of all tables of a document with these columns, cells trimmed, without head. */
export function tableOf(file: string, columns: readonly string[]): readonly (readonly string[])[] {
  const rows: string[][] = []
  let inside = false
  for (const line of read(file).split('\n')) {
    const cells = line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim())
    if (!line.startsWith('|')) inside = false
    else if (cells.join() === columns.join()) inside = true
    else if (inside && !line.startsWith('| ---')) rows.push(cells)
  }
  return rows
}

/** The anchors of a document's headings, as GitHub makes them. */
export function anchorsOf(file: string): readonly string[] {
  return [...read(file).matchAll(/^#+ (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
