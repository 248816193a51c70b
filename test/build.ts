import { execFileSync } from 'node:child_process'

/** Worker threads and end-to-end tests run the built program, so every run builds it first. */
export function setup(): void {
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], {
    stdio: 'inherit',
  })
}
