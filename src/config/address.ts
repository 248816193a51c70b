import { BlockList, isIP } from 'node:net'

/** Where a server listens. */
export type ListenAddress =
  | { readonly kind: 'unix'; readonly path: string }
  /** `host` without brackets; port 0 takes a free one. */
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }

/** `sun_path` holds 108 bytes on Linux and 104 on macOS, the closing NUL included. */
const maxSocketPathBytes = 103

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

/** Reads `unix:///path`, `host:port` or `[IPv6]:port`; undefined for anything else. */
export function parseAddress(text: string): ListenAddress | undefined {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix://'.length)
    const wellFormed = text.startsWith('unix:///') && !/[\0\s]/.test(path) && !path.endsWith('/')
    return wellFormed && Buffer.byteLength(path) <= maxSocketPathBytes
      ? { kind: 'unix', path }
      : undefined
  }
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([0-9]{1,5})$/.exec(text)
  if (match === null) return undefined
  const port = Number(match[3])
  const host = match[1] ?? match[2] ?? ''
  if (port > 65_535 || (match[1] !== undefined && isIP(host) !== 6)) return undefined
  return { kind: 'tcp', host, port }
}

/** As it is written in the policy. */
export function formatAddress(address: ListenAddress): string {
  if (address.kind === 'unix') return `unix://${address.path}`
  const host = address.host.includes(':') ? `[${address.host}]` : address.host
  return `${host}:${String(address.port)}`
}

/** Can only this machine reach it? A name other than `localhost` could resolve to anything, so it is not local. */
export function isLocal(address: ListenAddress): boolean {
  return address.kind === 'unix' || isLoopbackHost(address.host)
}

/** Is the host a loopback address, or `localhost`? IPv6 with or without brackets. */
export function isLoopbackHost(host: string): boolean {
  if (host === 'localhost') return true
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
  const family = isIP(bare)
  return family !== 0 && loopback.check(bare, family === 4 ? 'ipv4' : 'ipv6')
}
