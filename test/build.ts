import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

let temporary: string | undefined

/** Worker threads and end-to-end tests run the built program, so every run builds it first. `make lint` checks its types. */
export function setup(): void {
  execFileSync(
    process.execPath,
    ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json', '--noCheck'],
    { stdio: 'inherit' },
  )
  cpSync('src/quota/redis/lua', 'dist/quota/redis/lua', { recursive: true })
  cpSync('src/ratelimit/lua', 'dist/ratelimit/lua', { recursive: true })
  // One place for what tests write, gone with the run, but for the logs of stacks that failed. Short: the path of a Unix socket may have 103 bytes.
  temporary = mkdtempSync(join(tmpdir(), 'tg-'))
  process.env['TMPDIR'] = temporary
}

export function teardown(): void {
  if (temporary === undefined) return
  for (const name of readdirSync(temporary)) {
    if (!name.startsWith('tollgate-demo-')) {
      rmSync(join(temporary, name), { recursive: true, force: true })
    }
  }
  if (readdirSync(temporary).length === 0) rmdirSync(temporary)
}
