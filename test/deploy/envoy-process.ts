import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { startChild, waitUntilReady } from '../../deploy/demo/child.js'
import type { Child } from '../../deploy/demo/child.js'
import { findEnvoy } from '../../deploy/demo/find-envoy.js'

export interface EnvoyProcess {
  readonly adminPort: number
  readonly adminUrl: string
  /** Of the first listener. */
  readonly url: string
  readonly child: Child
}

/**
 * Starts Envoy and waits until it is ready.
 *
 * @param directory for its files, one Envoy in each
 * @param args with a configuration whose ports are all 0
 * @throws Error it does not start; the message names its log
 */
export async function startEnvoyProcess(
  directory: string,
  args: readonly string[],
): Promise<EnvoyProcess> {
  const addressFile = join(directory, 'admin-address')
  const logFile = join(directory, 'envoy.log')
  const child = await startChild({
    command: findEnvoy(),
    args: [...args, '--admin-address-path', addressFile],
    logFile,
  })
  while (
    child.running() &&
    !(existsSync(addressFile) && readFileSync(addressFile, 'utf8') !== '')
  ) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  if (!child.running())
    throw new Error(`Envoy ended while it started: ${readFileSync(logFile, 'utf8')}`)
  const adminUrl = `http://${readFileSync(addressFile, 'utf8')}`
  await waitUntilReady({ name: 'Envoy', child, url: `${adminUrl}/ready`, timeoutMs: 20_000 })
  const answer = await fetch(`${adminUrl}/listeners?format=json`)
  const { listener_statuses: listeners } = (await answer.json()) as {
    listener_statuses: { local_address: { socket_address: { port_value: number } } }[]
  }
  const port = listeners[0]?.local_address.socket_address.port_value
  return {
    adminPort: Number(new URL(adminUrl).port),
    adminUrl,
    url: `http://127.0.0.1:${String(port)}`,
    child,
  }
}
