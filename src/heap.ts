import { MIB_BYTES } from './units.js'

/** As Node takes it in its arguments and in NODE_OPTIONS; megabytes of 2^20 bytes. */
const OLD_SPACE = /^--max[-_]old[-_]space[-_]size=(\d+)$/

/**
 * Bytes of the heap for what lives long: as many as were chosen (`--max-old-space-size`). The limit that V8 tells has the
 * young generation in it as well, which in Node 24 is 192 MiB, also beside 128 that were chosen.
 *
 * @param options of Node; the last that says it counts
 * @param limitBytes what V8 tells (`heap_size_limit`); where nothing was chosen it is that
 */
export function longLivedHeapBytes(options: readonly string[], limitBytes: number): number {
  const chosen = options.flatMap((option) => OLD_SPACE.exec(option)?.[1] ?? [])
  // Zero, also after another, is V8's own choice.
  const megabytes = Number(chosen.at(-1) ?? 0)
  return megabytes === 0 ? limitBytes : Math.min(limitBytes, megabytes * MIB_BYTES)
}

/** Those of this process: its arguments count more than its environment. */
export function nodeOptions(): readonly string[] {
  return [...splitOptions(process.env['NODE_OPTIONS'] ?? ''), ...process.execArgv]
}

/** One option: blanks end it, except in quotes, where a backslash takes what follows as it is. */
const OPTION = /(?:[^ "]|"(?:\\.|[^"\\])*")+/gs

/** As Node does it (`ParseNodeOptionsEnvVar`), which refuses to start where a quote has no end. */
function splitOptions(text: string): readonly string[] {
  const written = text.match(OPTION) ?? []
  return written.map((option) =>
    option.replace(/"((?:\\.|[^"\\])*)"/gs, (_, quoted: string) => quoted.replace(/\\(.)/gs, '$1')),
  )
}
