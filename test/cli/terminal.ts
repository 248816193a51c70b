import { dispatch } from '../../src/commands/dispatch.js'

export interface Played {
  readonly exitCode: number
  readonly out: string
  readonly err: string
  readonly progress: readonly string[]
}

/** Runs one command line in this process, and reads back what it said. */
export async function play(
  args: readonly string[],
  options: { readonly input?: string | Buffer; readonly watched?: boolean } = {},
): Promise<Played> {
  const out: string[] = []
  const err: string[] = []
  const progress: string[] = []
  const input = Buffer.from(options.input ?? '')
  const exitCode = await dispatch(args, {
    out: (line) => out.push(line),
    err: (line) => err.push(line),
    progress: options.watched === true ? (line) => progress.push(line) : undefined,
    readInput: (maxBytes) => Promise.resolve(input.length > maxBytes ? undefined : input),
  })
  return { exitCode, out: out.join('\n'), err: err.join('\n'), progress }
}
