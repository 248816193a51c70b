import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { startChild, waitUntilReady } from './child.js'
import type { Child } from './child.js'
import { findEnvoy } from './find-envoy.js'

const repository = fileURLToPath(new URL('../..', import.meta.url))

/** Where the parts of a demo are: what differs from `envoy.yaml` as shipped. */
export interface EnvoyPlaces {
  readonly listenerPort: number
  readonly adminPort: number
  readonly tollgateSocket: string
  /** Of a second Tollgate, which Envoy asks in turn with the first. */
  readonly secondTollgateSocket?: string | undefined
  /** Loopback port of each pool's one node. */
  readonly nodePorts: Readonly<Record<string, number>>
  /** Holds `tls.crt`, `tls.key` and `ca.crt`. */
  readonly certificateDirectory: string
}

export interface Envoy {
  readonly url: string
  readonly adminUrl: string
  readonly child: Child
  readonly accessLogFile: string
  /** The rendered configuration. */
  readonly configFile: string
}

/** The shipped port of every pool's nodes. */
const NODE_PORT = 8443

/**
 * Renders the very `envoy.yaml` that is shipped, with other ports and paths, into `directory`.
 *
 * @throws Error a value to be replaced is not in the file any more
 */
export async function renderEnvoy(directory: string, places: EnvoyPlaces): Promise<string> {
  const clientCertificate = await renderSecret(directory, 'client-certificate.yaml', places)
  const authority = await renderSecret(directory, 'authority.yaml', places)

  const addresses = new Map([
    ['0.0.0.0:8080', { address: '127.0.0.1', port_value: places.listenerPort }],
    ['127.0.0.1:9901', { address: '127.0.0.1', port_value: places.adminPort }],
  ])
  for (const [pool, port] of Object.entries(places.nodePorts)) {
    addresses.set(`${pool}.gpu.svc.cluster.local:${String(NODE_PORT)}`, {
      address: '127.0.0.1',
      port_value: port,
    })
  }
  const paths = new Map([
    ['/run/tollgate/tollgate.sock', places.tollgateSocket],
    ['/etc/envoy/sds/client-certificate.yaml', clientCertificate],
    ['/etc/envoy/sds/authority.yaml', authority],
  ])
  const shipped: unknown = parse(await readFile(join(repository, 'envoy.yaml'), 'utf8'))
  const unused = new Set([...addresses.keys(), ...paths.keys()])
  const rendered = replace(shipped, addresses, paths, unused)
  if (unused.size > 0) throw new Error(`envoy.yaml no longer holds ${[...unused].join(', ')}`)

  if (places.secondTollgateSocket !== undefined) addTollgate(rendered, places.secondTollgateSocket)

  const configFile = join(directory, 'envoy.json')
  await writeFile(configFile, JSON.stringify(rendered, null, 2))
  return configFile
}

/**
 * Renders into `directory`, starts Envoy and waits until it listens.
 *
 * @param change what a test has different in the rendered text
 */
export async function startEnvoy(
  directory: string,
  places: EnvoyPlaces,
  change: (config: string) => string = (config) => config,
): Promise<Envoy> {
  const command = findEnvoy()
  const configFile = await renderEnvoy(directory, places)
  await writeFile(configFile, change(await readFile(configFile, 'utf8')))
  const accessLogFile = join(directory, 'envoy-access.log')
  const child = await startChild({
    command,
    // Two workers, so that what only holds within one of them would show. No hot restart: several may run at once.
    args: ['-c', configFile, '--concurrency', '2', '--disable-hot-restart', '--log-level', 'warn'],
    logFile: join(directory, 'envoy.log'),
    // Envoy writes a line of its access log in pieces: one to stderr between two of them would part it.
    outputFile: accessLogFile,
  })
  const adminUrl = `http://127.0.0.1:${String(places.adminPort)}`
  await waitUntilReady({ name: 'Envoy', child, url: `${adminUrl}/ready`, timeoutMs: 60_000 })
  const url = `http://127.0.0.1:${String(places.listenerPort)}`
  return { url, adminUrl, child, accessLogFile, configFile }
}

interface RenderedClusters {
  readonly static_resources: {
    readonly clusters: readonly {
      readonly name: string
      readonly load_assignment: { readonly endpoints: readonly { lb_endpoints: object[] }[] }
    }[]
  }
}

/** One more endpoint of the cluster that Envoy asks. */
function addTollgate(rendered: unknown, path: string): void {
  const { clusters } = (rendered as RenderedClusters).static_resources
  const endpoints = clusters.find(({ name }) => name === 'tollgate')?.load_assignment.endpoints[0]
  if (endpoints === undefined) throw new Error('envoy.yaml no longer holds the cluster tollgate')
  endpoints.lb_endpoints.push({ endpoint: { address: { pipe: { path } } } })
}

async function renderSecret(directory: string, name: string, places: EnvoyPlaces): Promise<string> {
  const shipped = await readFile(join(repository, 'deploy', 'envoy', name), 'utf8')
  const file = join(directory, name)
  await writeFile(file, shipped.replaceAll('/etc/envoy/certs', places.certificateDirectory))
  return file
}

function replace(
  node: unknown,
  addresses: ReadonlyMap<string, object>,
  paths: ReadonlyMap<string, string>,
  unused: Set<string>,
): unknown {
  if (typeof node === 'string') {
    const path = paths.get(node)
    if (path === undefined) return node
    unused.delete(node)
    return path
  }
  if (Array.isArray(node)) return node.map((item) => replace(item, addresses, paths, unused))
  if (typeof node !== 'object' || node === null) return node
  if ('address' in node && 'port_value' in node) {
    const place = `${String(node.address)}:${String(node.port_value)}`
    const address = addresses.get(place)
    if (address === undefined)
      throw new Error(`envoy.yaml has an address the demo does not know: ${place}`)
    unused.delete(place)
    return address
  }
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [key, replace(value, addresses, paths, unused)]),
  )
}
