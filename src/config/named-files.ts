import type { ConfigFault } from '../errors.js'
import { formatPath } from './faults.js'
import type { KeyPath } from './faults.js'
import { soundItems, wrong } from './partly.js'
import type { Wrong } from './partly.js'
import type { RedisSection } from './redis-rules.js'
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

type Naming = readonly [KeyPath, string | Wrong | undefined, NamedFile['kind']]

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
  const record = audit === wrong ? undefined : audit
  const rateLimits = rateLimitService === wrong ? undefined : rateLimitService
  const named: readonly Naming[] = [
    [['listen', 'tls', 'certFile'], tls?.certFile, 'certificates'],
    [['listen', 'tls', 'keyFile'], tls?.keyFile, 'private key'],
    [['listen', 'tls', 'clientCaFile'], tls?.clientCaFile, 'certificates'],
    ...filesOfRedis(ledger, ['ledger']),
    [['audit', 'file'], record?.file, 'audit file'],
    [['audit', 'keyFile'], record?.keyFile, 'signing key'],
    ...soundItems(issuers).map(
      ({ index, item }) => [['issuers', index, 'caFile'], item.caFile, 'certificates'] as const,
    ),
    ...(['redis', 'perSecond'] as const).flatMap((name) => {
      const redis = rateLimits?.[name]
      if (redis === undefined || redis === wrong) return []
      return filesOfRedis(redis, ['rateLimitService', name])
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

function filesOfRedis(section: RedisSection, at: KeyPath): readonly Naming[] {
  const tls = section.tls === wrong ? undefined : section.tls
  const sentinel = section.sentinel === wrong ? undefined : section.sentinel
  return [
    [[...at, 'tls', 'caFile'], tls?.caFile, 'certificates'],
    [[...at, 'passwordFile'], section.passwordFile, 'password'],
    [[...at, 'sentinel', 'passwordFile'], sentinel?.passwordFile, 'password'],
  ]
}
