import type { ConfigFault } from '../errors.js'
import { matchesPattern } from '../policy.js'
import { checkPattern } from '../inspection/detectors/prohibited.js'
import { dialectForPath } from '../llm/dialects.js'
import { formatAddress, isLocal } from './address.js'
import { isTimeZone } from './duration.js'
import type { Entries, FileContent } from './read-sections.js'
import { leaseMarginMs } from './schema.js'
import type { KeyPath } from './faults.js'
import type { YamlDocument } from './yaml-document.js'

/** Patterns of all prohibited lists: 3 to 150 ms each for 32 KiB of text (measured). */
const maxPatterns = 100

type Report = (fault: ConfigFault) => void

/** Rules of the policy file that join several keys, except those of grants (`grants.ts`). */
export function checkRules(content: FileContent, document: YamlDocument, report: Report): void {
  const fault = (at: KeyPath, expected: string): void => {
    report(document.fault(at, expected))
  }
  checkListen(content, fault)
  checkStreams(content, fault)
  checkIssuers(content, fault)
  checkModels(content, fault)
  checkPaths(content, fault)
  checkQuotas(content, fault)
  checkInspection(content, fault)
}

type Fault = (at: KeyPath, expected: string) => void

/** The first entry keeps the name; every later one is the fault. */
function refuseRepeats(
  names: readonly { at: KeyPath; name: string }[],
  what: string,
  fault: Fault,
): void {
  const seen = new Set<string>()
  for (const { at, name } of names) {
    if (seen.has(name)) fault(at, `${what} that no earlier entry has`)
    seen.add(name)
  }
}

function checkListen({ sections }: FileContent, fault: Fault): void {
  const listen = sections.listen
  if (listen === undefined) return
  const at = ['listen', 'grpc']
  if (!isLocal(listen.grpc) && listen.tls === undefined) {
    fault(
      at,
      'a Unix socket, a loopback address, or listen.tls with certFile, keyFile, clientCaFile and allowedSans: whoever reaches this port could end reservations',
    )
  }
  if (listen.grpc.kind === 'unix' && listen.tls !== undefined) {
    fault(['listen', 'tls'], 'to be left out, since listen.grpc is a Unix socket')
  }
  if (!isLocal(listen.admin)) {
    fault(['listen', 'admin'], 'a Unix socket or a loopback address: it names callers')
  }
  const servers = ['grpc', 'metrics', 'admin'] as const
  servers.forEach((server, index) => {
    const address = listen[server]
    if (address.kind === 'tcp' && address.port === 0) return
    const written = formatAddress(address)
    const other = servers
      .slice(0, index)
      .find((earlier) => formatAddress(listen[earlier]) === written)
    if (other !== undefined) {
      fault(['listen', server], `another address than ${written}, which is that of listen.${other}`)
    }
  })
}

function checkStreams({ sections }: FileContent, fault: Fault): void {
  const { maxStreamMs, leaseMs } = sections
  if (maxStreamMs === undefined || leaseMs === undefined) return
  if (leaseMs < maxStreamMs + leaseMarginMs) {
    fault(
      ['leaseMs'],
      `at least maxStreamMs + ${String(leaseMarginMs)} = ${String(maxStreamMs + leaseMarginMs)}, or a lease could end before its stream`,
    )
  }
}

function checkIssuers({ issuers, sections }: FileContent, fault: Fault): void {
  if (issuers.complete && issuers.items.length === 0 && sections.listen !== undefined) {
    fault(['issuers'], 'a list of at least one issuer')
  }
  refuseRepeats(
    issuers.items.map(({ at, value }) => ({ at: [...at, 'issuer'], name: value.issuer })),
    'an issuer',
    fault,
  )
  const fixedTenants: { at: KeyPath; name: string }[] = []
  for (const { at, value } of issuers.items) {
    if (value.tenant.kind === 'fixed') {
      fixedTenants.push({ at: [...at, 'tenant', 'fixed'], name: value.tenant.tenant })
    } else if (issuers.items.length > 1) {
      fault(
        [...at, 'tenant', 'claim'],
        'fixed instead, since there are several issuers: by a claim one could name the tenant of another',
      )
    }
    const isHttp = value.issuer.startsWith('http:')
    if (isHttp && !value.insecureHttp) {
      fault([...at, 'issuer'], 'https://, or insecureHttp: true beside it (loopback only)')
    }
    if (!isHttp && value.insecureHttp) {
      fault([...at, 'insecureHttp'], 'to be left out, since the issuer is https://')
    }
  }
  // Two issuers of one tenant could each mint the other's subjects.
  refuseRepeats(fixedTenants, 'a tenant', fault)
}

function checkModels({ models }: FileContent, fault: Fault): void {
  refuseRepeats(
    models.items.flatMap(({ at, value }) => [
      { at: [...at, 'name'], name: value.name },
      ...value.aliases.map((alias, index) => ({ at: [...at, 'aliases', index], name: alias })),
    ]),
    'a name or alias',
    fault,
  )
  for (const { at, value } of models.items) {
    if (value.defaultOutputTokens >= value.contextTokens) {
      fault(
        [...at, 'defaultOutputTokens'],
        `less than contextTokens (${String(value.contextTokens)})`,
      )
    }
  }
}

function checkPaths({ paths }: FileContent, fault: Fault): void {
  refuseRepeats(
    paths.items.map(({ at, value }) => ({
      at: [...at, 'path'],
      name: `${value.method} ${value.path}`,
    })),
    'a path and method',
    fault,
  )
  for (const { at, value } of paths.items) {
    const dialect = dialectForPath(value.path)
    if (dialect !== undefined) {
      fault(
        [...at, 'path'],
        `a path that names no model; this one is read by the ${dialect.name} dialect`,
      )
    }
    // Envoy asks about a request without a credential before its body came, and over HTTP/2 no header need announce
    // one: what follows would reach the engine unread.
    if (value.public && value.method !== 'GET' && value.method !== 'HEAD') {
      fault([...at, 'method'], 'GET or HEAD where the path is public: no body must follow unread')
    }
  }
}

function checkQuotas(content: FileContent, fault: Fault): void {
  const { quotas, models } = content
  refuseRepeats(
    quotas.items.map(({ at, value }) => ({ at: [...at, 'name'], name: value.name })),
    'a quota name',
    fault,
  )
  for (const { at, value: quota } of quotas.items) {
    if (quota.unit === 'in_flight' && quota.window !== undefined) {
      fault([...at, 'window'], 'to be left out: in_flight counts what is under way, over no window')
    }
    if (quota.unit !== 'in_flight' && quota.window === undefined) {
      fault([...at, 'window'], 'a window, as 1m or day, since the unit is counted over time')
    }
    if (quota.timezone !== undefined && quota.window?.kind !== 'calendar') {
      fault([...at, 'timezone'], 'to be left out: only minute, hour, day and month have one')
    } else if (quota.timezone !== undefined && !isTimeZone(quota.timezone)) {
      fault([...at, 'timezone'], 'an IANA time zone that this runtime knows, as Europe/Berlin')
    }
    refuseRepeats(
      quota.by.map((dimension, index) => ({ at: [...at, 'by', index], name: dimension })),
      'a dimension',
      fault,
    )
    if (quota.groups.length > 0 && !quota.by.includes('group')) {
      fault([...at, 'groups'], 'to be left out, or group in by')
    }
    if (quota.groups.length === 0 && quota.by.includes('group')) {
      fault([...at, 'groups'], 'a list of the groups to count by, since by holds group')
    }
  }
  checkModelPatterns(quotas, models, fault)
}

/** A pattern that matches no model binds or grants nothing: a typing error, most likely. */
export function checkModelPatterns(
  holders: Entries<{ readonly models: readonly string[] }>,
  models: FileContent['models'],
  fault: Fault,
): void {
  if (!models.complete) return
  for (const { at, value } of holders.items) {
    value.models.forEach((pattern, index) => {
      if (models.items.some((model) => matchesPattern(pattern, model.value.name))) return
      const aliased = models.items.find((model) => model.value.aliases.includes(pattern))
      fault(
        [...at, 'models', index],
        aliased === undefined
          ? 'a pattern that matches a model of this file'
          : `the name of the model, not its alias: ${aliased.value.name}`,
      )
    })
  }
}

function checkInspection({ sections }: FileContent, fault: Fault): void {
  const inspection = sections.inspection
  if (inspection === undefined) return
  const personalData = inspection['personal-data']
  if (personalData.action !== 'off' && personalData.kinds.length === 0) {
    fault(['inspection', 'personal-data', 'kinds'], 'at least one kind, or action: off')
  }
  refuseRepeats(
    inspection.prohibited.map((rule, index) => ({
      at: ['inspection', 'prohibited', index, 'name'],
      name: rule.name,
    })),
    'a list name',
    fault,
  )
  const patterns = inspection.prohibited.reduce((sum, rule) => sum + rule.patterns.length, 0)
  if (patterns > maxPatterns) {
    fault(
      ['inspection', 'prohibited'],
      `at most ${String(maxPatterns)} patterns in all lists together, not ${String(patterns)}: each is another pass over every prompt`,
    )
  }
  inspection.prohibited.forEach((rule, index) => {
    const at = ['inspection', 'prohibited', index]
    if (rule.phrases.length === 0 && rule.patterns.length === 0) {
      fault(at, 'at least one phrase or pattern')
    }
    rule.patterns.forEach((pattern, position) => {
      const problem = checkPattern(pattern)
      if (problem !== undefined) {
        fault([...at, 'patterns', position], problem)
      }
    })
  })
}
