import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { clientSecret } from './identity-provider.js'
import { play } from './play.js'
import { curlLine, demoRequests } from './requests.js'
import { demoCallers, demoPorts, startStack } from './stack.js'
import type { Stack, StackPorts } from './stack.js'
import { UsageError } from '../../src/commands/command.js'
import { readDemoPolicy } from './tollgate.js'

const help = `Usage: make run [ARGS="OPTIONS"]

The whole way of a request on this machine: Envoy, Tollgate, an identity provider and two stand-ins for GPU nodes.
Prints ready-made curl lines and waits for Ctrl-C.

  --once         send those requests, print what came of each, and stop
  --base-port N  listen on N to N + ${String(Object.keys(demoPorts).length - 1)} instead of ${Object.values(demoPorts).join(', ')}

Exit codes:
  0  stopped by Ctrl-C; with --once: every request came out as told
  1  a part did not start or ended by itself; with --once: a request did not come out as told
  2  the command line is wrong`

const programFile = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

/** `make run`, as its help says. */
async function main(): Promise<number> {
  const options = readOptions()
  if (options === 'help') {
    print(help)
    return 0
  }
  const interrupted = new Promise<undefined>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        resolve(undefined)
      })
    }
  })
  const stack = await startStack({
    ports: options.ports,
    policy: await readDemoPolicy(),
    random: Math.random,
  })
  let asTold = false
  let stopping = false
  try {
    if (options.once) {
      asTold = await Promise.race([play(stack, print), interrupted.then(() => false)])
    } else {
      // Slow enough to be seen streaming.
      for (const node of [stack.nodeA, stack.nodeB]) node.behave({ tokenDelayMs: 10 })
      describe(stack)
      void stack.tollgate.child.exited.then((code) => {
        if (!stopping) print(`Tollgate ended (${String(code)}): from now on Envoy answers 503`)
      })
      const ended = await Promise.race([interrupted, stack.envoy.child.exited])
      asTold = ended === undefined
      if (ended !== undefined) print(`Envoy ended (${String(ended)})`)
    }
  } finally {
    stopping = true
    // A failure is told with its logs; they stay.
    await stack.stop({ keepFiles: !asTold })
    if (!asTold) print(`The logs are in ${stack.directory}`)
  }
  return asTold ? 0 : 1
}

function describe({ envoy, identityProvider, tollgate, directory, nodeA, nodeB }: Stack): void {
  print(
    `Envoy               ${envoy.url} (admin ${envoy.adminUrl}, process ${String(envoy.child.pid)})`,
  )
  print(
    `Tollgate            ${tollgate.metricsUrl}/metrics (process ${String(tollgate.child.pid)})`,
  )
  print(`  who spent what    ${tollgate.adminUrl}/usage?tenant=acme&subject=alice`)
  print(`  audit records     ${tollgate.auditFile}`)
  print(
    `    verified by     node ${programFile} verify-audit ${tollgate.auditFile} --key ${tollgate.auditPublicKeyFile} (after the first checkpoint, 60 s)`,
  )
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
  print('# What happens without Tollgate: 503, nothing passes')
  print(`kill ${String(tollgate.child.pid)}; sleep 1; curl -sS -i ${envoy.url}/v1/models`)
  print('')
  print('Ctrl-C stops everything and removes its files.')
}

/** @throws UsageError the arguments cannot be understood */
function readOptions(): 'help' | { readonly once: boolean; readonly ports: StackPorts } {
  try {
    const { values } = parseArgs({
      options: {
        once: { type: 'boolean', default: false },
        'base-port': { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return 'help'
    const base = values['base-port']
    return { once: values.once, ports: base === undefined ? demoPorts : portsFrom(base) }
  } catch (error) {
    const message = error instanceof Error ? error.message : 'arguments not understood'
    throw new UsageError(`${message.split('. ')[0] ?? message}; try make run ARGS=--help`)
  }
}

function portsFrom(base: string): StackPorts {
  const names = Object.keys(demoPorts)
  const first = Number(base)
  if (!/^\d+$/.test(base) || first < 1024 || first + names.length > 65_536) {
    throw new UsageError(`--base-port takes a number from 1024 to ${String(65_536 - names.length)}`)
  }
  return Object.fromEntries(names.map((name, index) => [name, first + index])) as {
    [Name in keyof StackPorts]: number
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

try {
  process.exitCode = await main()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = error instanceof UsageError ? 2 : 1
}
