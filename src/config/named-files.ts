import type { ConfigFault } from '../errors.js'
import { formatPath } from './faults.js'
import type { KeyPath } from './faults.js'
import { soundItems, wrong } from './partly.js'
import type { Wrong } from './partly.js'
import type { FileContent } from './schema.js'
import { resolveFile } from './settings.js'

/** A file that the policy names. */
export interface NamedFile {
  /** As `audit.keyFile`. */
  readonly key: string
  /** Absolute. */
  readonly path: string
  readonly kind: 'certificates' | 'private key' | 'signing key' | 'password' | 'audit file'
  /** The fault of the key that names it. */
  fault(expected: string): ConfigFault
}

/**
 * Every file that the policy names, in its order.
 *
 * @param file path of the policy, from which theirs start
 */
export function namedFiles(
  file: string,
  { listen, ledger, audit, issuers, rateLimitService }: FileContent,
  faultAt: (at: KeyPath, expected: string) => ConfigFault,
): readonly NamedFile[] {
  const tls = listen.tls === wrong ? undefined : listen.tls
  const ledgerTls = ledger.tls === wrong ? undefined : ledger.tls
  const sentinel = ledger.sentinel === wrong ? undefined : ledger.sentinel
  const record = audit === wrong ? undefined : audit
  const rateLimits = rateLimitService === wrong ? undefined : rateLimitService
  const named: readonly (readonly [KeyPath, string | Wrong | undefined, NamedFile['kind']])[] = [
    [['listen', 'tls', 'certFile'], tls?.certFile, 'certificates'],
    [['listen', 'tls', 'keyFile'], tls?.keyFile, 'private key'],
    [['listen', 'tls', 'clientCaFile'], tls?.clientCaFile, 'certificates'],
    [['ledger', 'tls', 'caFile'], ledgerTls?.caFile, 'certificates'],
    [['ledger', 'passwordFile'], ledger.passwordFile, 'password'],
    [['ledger', 'sentinel', 'passwordFile'], sentinel?.passwordFile, 'password'],
    [['audit', 'file'], record?.file, 'audit file'],
    [['audit', 'keyFile'], record?.keyFile, 'signing key'],
    ...soundItems(issuers).map(
      ({ index, item }) => [['issuers', index, 'caFile'], item.caFile, 'certificates'] as const,
    ),
    ...(['redis', 'perSecond'] as const).flatMap((name) => {
      const server = rateLimits?.[name]
      if (server === undefined || server === wrong) return []
      const caFile = server.tls === wrong ? undefined : server.tls?.caFile
      const at = ['rateLimitService', name]
      return [
        [[...at, 'tls', 'caFile'], caFile, 'certificates'] as const,
        [[...at, 'passwordFile'], server.passwordFile, 'password'] as const,
      ]
    }),
  ]
  return named.flatMap(([at, path, kind]) =>
    path === undefined || path === wrong
      ? []
      : [
          {
            key: formatPath(at),
            path: resolveFile(file, path),
            kind,
            fault: (expected) => faultAt(at, expected),
          },
        ],
  )
}
