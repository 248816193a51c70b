import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { clientSecret } from './identity-provider.js'
import { play } from './play.js'
import { curlLine, demoRequests } from './requests.js'
import { demoCallers, demoPorts, demoSecondPorts, startStack } from './stack.js'
import type { SecondPorts, Stack, StackPorts } from './stack.js'
import { UsageError } from '../../src/commands/command.js'
import type { Child } from './child.js'
import { readDemoPolicy, readSharedDemoPolicy } from './tollgate.js'

const help = `Usage: make run [ARGS="OPTIONS"]

The whole way of a request on this machine: Envoy, Tollgate, an identity provider and two stand-ins for GPU nodes.
Prints ready-made curl lines and waits for Ctrl-C.

  --once         send those requests, print what came of each, and stop
  --redis        two Tollgates behind the one Envoy, which share their limits in a Redis of the demo's own
  --base-port N  listen on N to N + ${last(demoPorts)} instead of ${numbers(demoPorts)};
                 with --redis on N to N + ${last({ ...demoPorts, ...demoSecondPorts })}, so also for ${numbers(demoSecondPorts)}

Exit codes:
  0  stopped by Ctrl-C; with --once: every request came out as told
  1  a part did not start or ended by itself, or Ctrl-C came while it started; with --once: a request did not come out as told
  2  the command line is wrong`

const programFile = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

/** `make run`, as its help says. */
async function main(): Promise<number> {
  const options = readOptions()
  if (options === 'help') {
    print(help)
    return 0
  }
  let starting = true
  const interrupted = new Promise<undefined>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        // Nothing has been served yet that would have to end in order.
        if (starting) process.exit(1)
        resolve(undefined)
      })
    }
  })
  const stack = await startStack({
    ports: options.ports,
    secondPorts: options.secondPorts,
    policy: await (options.secondPorts === undefined ? readDemoPolicy() : readSharedDemoPolicy()),
    random: Math.random,
  })
  starting = false
  let asTold = false
  let stopping = false
  try {
    if (options.once) {
      asTold = await Promise.race([play(stack, print), interrupted.then(() => false)])
    } else {
      // Slow enough to be seen streaming.
      for (const node of [stack.nodeA, stack.nodeB]) node.behave({ tokenDelayMs: 10 })
      describe(stack)
      for (const [name, { child }, then] of partsToWatch(stack)) {
        void child.exited.then((code) => {
          if (!stopping) print(`${name} ended (${String(code)}): ${then}`)
        })
      }
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

/** What may end while the demo waits, and what then. */
function partsToWatch({
  tollgate,
  second,
  redis,
}: Stack): readonly (readonly [string, { readonly child: Child }, string])[] {
  if (second === undefined || redis === undefined) {
    return [['Tollgate', tollgate, 'from now on Envoy answers 503']]
  }
  return [
    ['The first Tollgate', tollgate, 'what Envoy would ask it is answered 503 from now on'],
    ['The second Tollgate', second, 'what Envoy would ask it is answered 503 from now on'],
    ['Redis', redis, 'from now on every request that a quota binds is answered 503'],
  ]
}

function describe({
  envoy,
  identityProvider,
  tollgate,
  directory,
  nodeA,
  nodeB,
  second,
  redis,
}: Stack): void {
  print(
    `Envoy               ${envoy.url} (admin ${envoy.adminUrl}, process ${String(envoy.child.pid)})`,
  )
  print(
    `Tollgate            ${tollgate.metricsUrl}/metrics (process ${String(tollgate.child.pid)})`,
  )
  print(`  who spent what    ${tollgate.adminUrl}/usage?tenant=acme&subject=alice&group=research`)
  print(`  audit records     ${tollgate.auditFile}`)
  print(
    `    verified by     node ${programFile} verify-audit ${tollgate.auditFile} --key ${tollgate.auditPublicKeyFile} (after the first checkpoint, 60 s)`,
  )
  if (second !== undefined && redis !== undefined) {
    print(`second Tollgate     ${second.metricsUrl}/metrics (process ${String(second.child.pid)})`)
    print(`  the same balance  ${second.adminUrl}/usage?tenant=acme&subject=alice&group=research`)
    print(`  audit records     ${second.auditFile}`)
    print(
      `    verified by     node ${programFile} verify-audit ${second.auditFile} --key ${second.auditPublicKeyFile}`,
    )
    print(`Redis               ${redis.socket} (process ${String(redis.child.pid)})`)
  }
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
  const tollgates = [tollgate, ...(second === undefined ? [] : [second])]
  const processes = tollgates.map(({ child }) => String(child.pid)).join(' ')
  print(`kill ${processes}; sleep 1; curl -sS -i ${envoy.url}/v1/models`)
  print('')
  print('Ctrl-C stops everything and removes its files.')
}

interface Options {
  readonly once: boolean
  readonly ports: StackPorts
  /** With --redis. */
  readonly secondPorts: SecondPorts | undefined
}

/** @throws UsageError the arguments cannot be understood */
function readOptions(): 'help' | Options {
  try {
    const { values } = parseArgs({
      options: {
        once: { type: 'boolean', default: false },
        redis: { type: 'boolean', default: false },
        'base-port': { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
    if (values.help) return 'help'
    const base = values['base-port']
    const written = { ...demoPorts, ...(values.redis ? demoSecondPorts : {}) }
    const { secondMetrics, secondAdmin, ...ports } =
      base === undefined ? written : portsFrom(base, written)
    const second =
      secondMetrics === undefined || secondAdmin === undefined
        ? undefined
        : { secondMetrics, secondAdmin }
    return { once: values.once, ports, secondPorts: second }
  } catch (error) {
    const message = error instanceof Error ? error.message : 'arguments not understood'
    throw new UsageError(`${message.split('. ')[0] ?? message}; try make run ARGS=--help`)
  }
}

type Ports = StackPorts & Partial<SecondPorts>

/** The same ports, in a row from `base` on. */
function portsFrom(base: string, written: Ports): Ports {
  const names = Object.keys(written)
  const first = Number(base)
  if (!/^\d+$/.test(base) || first < 1024 || first + names.length > 65_536) {
    throw new UsageError(`--base-port takes a number from 1024 to ${String(65_536 - names.length)}`)
  }
  return Object.fromEntries(names.map((name, index) => [name, first + index])) as unknown as Ports
}

function last(ports: object): string {
  return String(Object.keys(ports).length - 1)
}

function numbers(ports: object): string {
  return Object.values(ports).join(', ')
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
