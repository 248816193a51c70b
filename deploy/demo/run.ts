import { parseArgs } from 'node:util'
import { clientSecret } from './identity-provider.js'
import { play } from './play.js'
import { curlLine, demoRequests } from './requests.js'
import { demoCallers, demoPorts, startStack } from './stack.js'
import type { Stack } from './stack.js'
import { readDemoPolicy } from './tollgate.js'

/**
 * `make run`: the whole way of a request on one machine. Prints ready-made curl lines and waits for Ctrl-C; with
 * `--once` it sends those requests itself. Exit code 0: stopped, or all came out as told; 1: it did not start, or
 * one did not.
 */
async function main(): Promise<number> {
  const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } })
  const interrupted = new Promise<undefined>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        resolve(undefined)
      })
    }
  })
  const stack = await startStack({
    ports: demoPorts,
    policy: await readDemoPolicy(),
    random: Math.random,
  })
  let asTold = false
  try {
    if (values.once) {
      asTold = await Promise.race([play(stack, print), interrupted.then(() => false)])
    } else {
      // Slow enough to be seen streaming.
      for (const node of [stack.nodeA, stack.nodeB]) node.behave({ tokenDelayMs: 10 })
      describe(stack)
      const ended = await Promise.race([interrupted, aPartEnds(stack)])
      asTold = ended === undefined
      if (ended !== undefined) print(ended)
    }
  } finally {
    // A failure is told with its logs; they stay.
    await stack.stop({ keepFiles: !asTold })
    if (!asTold) print(`The logs are in ${stack.directory}`)
  }
  return asTold ? 0 : 1
}

function describe({ envoy, identityProvider, tollgate, directory, nodeA, nodeB }: Stack): void {
  print(`Envoy               ${envoy.url} (admin ${envoy.adminUrl})`)
  print(`Tollgate            ${tollgate.metricsUrl}/metrics`)
  print(`  who spent what    ${tollgate.adminUrl}/usage?tenant=acme&subject=alice`)
  print(`  audit records     ${tollgate.auditFile}`)
  print(
    `GPU nodes           https://127.0.0.1:${String(nodeA.port)} (gpu-a), https://127.0.0.1:${String(nodeB.port)} (gpu-b): they accept Envoy's certificate alone`,
  )
  print(`identity provider   ${identityProvider.issuer}`)
  print(`files and logs      ${directory}`)
  print('')
  print('Credentials, good for an hour:')
  for (const { name } of demoCallers.slice(0, 2)) {
    print(
      `${name.toUpperCase()}=$(curl -sS ${identityProvider.issuer}/token -d grant_type=client_credentials -d client_id=${name} -d client_secret=${clientSecret} | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')`,
    )
  }
  for (const request of demoRequests) {
    print('')
    print(`# ${request.title}: ${request.expects.told}`)
    print(curlLine(request, envoy.url))
  }
  print('')
  print('Ctrl-C stops everything.')
}

/** Resolves when Envoy or Tollgate ends by itself, with which. */
function aPartEnds({ envoy, tollgate }: Stack): Promise<string> {
  return Promise.race([
    envoy.child.exited.then((code) => `Envoy ended (${String(code)})`),
    tollgate.child.exited.then((code) => `Tollgate ended (${String(code)})`),
  ])
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
