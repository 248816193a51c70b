import { checkPattern } from '../inspection/detectors/prohibited.js'
import { dialectForPath } from '../llm/dialects.js'
import { formatAddress, isLocal } from './address.js'
import { checkApiKeys } from './api-key-rules.js'
import { isTimeZone } from './duration.js'
import type { KeyPath, SayFault } from './faults.js'
import { checkLedger } from './ledger.js'
import { checkModelPatterns } from './model-patterns.js'
import { given, soundItems, wrong } from './partly.js'
import { checkLimits, checkOverrideNames, checkPrices } from './quota-rules.js'
import { checkRateLimitService } from './ratelimit-rules.js'
import { refuseRepeats } from './repeats.js'
import { leaseMarginMs, leastLease, maxLeaseMs } from './schema.js'
import type { FileContent } from './schema.js'
import type { PartlyEntry } from './schema-entries.js'
import { SECOND_MS } from '../units.js'

/** Patterns of all prohibited lists: 3 to 150 ms each for 32 KiB of text (measured). */
const maxPatterns = 100

/** Rules of the policy file that join several keys, except those of grants (`grants.ts`). */
export function checkRules(content: FileContent, fault: SayFault): void {
  checkListen(content, fault)
  checkLedger(content, fault)
  checkRateLimitService(content, fault)
  checkStreams(content, fault)
  checkIssuers(content, fault)
  checkApiKeys(content, fault)
  checkModels(content, fault)
  checkPaths(content, fault)
  checkQuotas(content, fault)
  checkSlices(content, fault)
  checkInspection(content, fault)
}

function checkListen({ listen }: FileContent, fault: SayFault): void {
  given([listen.grpc, listen.tls], (grpc, tls) => {
    if (!isLocal(grpc) && tls === undefined) {
      fault(
        ['listen', 'grpc'],
        'a Unix socket, a loopback address, or listen.tls with certFile, keyFile, clientCaFile and allowedSans: whoever reaches this port could end reservations',
      )
    }
    if (grpc.kind === 'unix' && tls !== undefined) {
      fault(['listen', 'tls'], 'to be left out, since listen.grpc is a Unix socket')
    }
  })
  given([listen.admin], (admin) => {
    if (!isLocal(admin)) {
      fault(['listen', 'admin'], 'a Unix socket or a loopback address: it names callers')
    }
  })
  const taken = new Map<string, string>()
  for (const server of ['grpc', 'metrics', 'admin'] as const) {
    given([listen[server]], (address) => {
      if (address.kind === 'tcp' && address.port === 0) return
      const written = formatAddress(address)
      const other = taken.get(written)
      if (other === undefined) taken.set(written, server)
      else
        fault(
          ['listen', server],
          `another address than ${written}, which is that of listen.${other}`,
        )
    })
  }
}

function checkStreams(content: FileContent, fault: SayFault): void {
  given([content.maxStreamMs, content.leaseMs], (maxStreamMs, leaseMs) => {
    if (leaseMs === undefined || leaseMs >= maxStreamMs + leaseMarginMs) return
    fault(
      ['leaseMs'],
      `a whole number of milliseconds from ${leastLease} = ${String(maxStreamMs + leaseMarginMs)} to ${String(maxLeaseMs)}, or a lease could end before its stream`,
    )
  })
}

function checkIssuers({ issuers }: FileContent, fault: SayFault): void {
  const entries = soundItems(issuers).map(({ index, item }) => ({
    at: ['issuers', index],
    value: item,
  }))
  refuseRepeats(
    entries.map(({ at, value }) => ({ at: [...at, 'issuer'], name: value.issuer })),
    'an issuer',
    fault,
  )
  for (const { at, value } of entries) {
    given([value.tenant.claim, value.tenant.fixed], (claim, fixed) => {
      if ((claim === undefined) === (fixed === undefined)) {
        fault([...at, 'tenant'], 'exactly one of claim and fixed')
      } else if (claim !== undefined && entries.length > 1) {
        fault(
          [...at, 'tenant', 'claim'],
          'fixed instead, since there are several issuers: by a claim one could name the tenant of another',
        )
      }
    })
    given([value.issuer, value.insecureHttp], (issuer, insecureHttp) => {
      const isHttp = issuer.startsWith('http:')
      if (isHttp && !insecureHttp) {
        fault([...at, 'issuer'], 'https://, or insecureHttp: true beside it (loopback only)')
      }
      if (!isHttp && insecureHttp) {
        fault([...at, 'insecureHttp'], 'to be left out, since the issuer is https://')
      }
    })
  }
  // Two issuers of one tenant could each mint the other's subjects.
  refuseRepeats(
    entries.map(({ at, value }) => ({ at: [...at, 'tenant', 'fixed'], name: value.tenant.fixed })),
    'a tenant',
    fault,
  )
}

function checkModels({ models }: FileContent, fault: SayFault): void {
  refuseRepeats(
    soundItems(models).flatMap(({ index, item: model }) => [
      { at: ['models', index, 'name'], name: model.name },
      ...soundItems(model.aliases).map((alias) => ({
        at: ['models', index, 'aliases', alias.index],
        name: alias.item,
      })),
    ]),
    'a name or alias',
    fault,
  )
  for (const { index, item: model } of soundItems(models)) {
    given([model.defaultOutputTokens, model.contextTokens], (outputTokens, contextTokens) => {
      if (outputTokens < contextTokens) return
      fault(
        ['models', index, 'defaultOutputTokens'],
        `less than contextTokens (${String(contextTokens)})`,
      )
    })
  }
}

function checkPaths({ paths }: FileContent, fault: SayFault): void {
  refuseRepeats(
    soundItems(paths).map(({ index, item: { method, path } }) => ({
      at: ['paths', index, 'path'],
      name: method === wrong || path === wrong ? wrong : `${method} ${path}`,
    })),
    'a path and method',
    fault,
  )
  for (const { index, item } of soundItems(paths)) {
    given([item.path], (path) => {
      const dialect = dialectForPath(path)
      if (dialect === undefined) return
      fault(
        ['paths', index, 'path'],
        `a path that names no model; this one is read by the ${dialect.name} dialect`,
      )
    })
    // Envoy asks about a request without a credential before its body came, and over HTTP/2 no header need announce
    // one: what follows would reach the engine unread.
    given([item.public, item.method], (isPublic, method) => {
      if (!isPublic || method === 'GET' || method === 'HEAD') return
      fault(
        ['paths', index, 'method'],
        'GET or HEAD where the path is public: no body must follow unread',
      )
    })
  }
}

function checkQuotas(content: FileContent, fault: SayFault): void {
  checkOverrideNames(content, fault)
  refuseRepeats(
    soundItems(content.quotas).map(({ index, item }) => ({
      at: ['quotas', index, 'name'],
      name: item.name,
    })),
    'a quota name',
    fault,
  )
  for (const { index, item: quota } of soundItems(content.quotas)) {
    const at = ['quotas', index]
    checkWindow(quota, at, fault)
    checkDimensions(quota, at, fault)
    checkModelPatterns(quota.models, [...at, 'models'], content, fault)
    checkLimits(quota, content, at, fault)
    checkPrices(quota, content, at, fault)
  }
}

/** A slice lasts a 64th of a sliding window at most: below, it is over as soon as it is there. */
const leastSlicedWindowMs = 30 * SECOND_MS

function checkSlices({ ledger, quotas }: FileContent, fault: SayFault): void {
  for (const { index, item } of soundItems(quotas)) {
    const at = ['quotas', index, 'slices']
    given([item.slices, ledger.kind], (slices, kind) => {
      if (slices && kind === 'memory') fault(at, 'to be left out, since ledger.kind is memory')
    })
    given([item.slices, item.window], (slices, window) => {
      const isShort =
        (window?.kind === 'sliding' || window?.kind === 'fixed') &&
        window.lengthMs < leastSlicedWindowMs
      if (slices && isShort) {
        fault(at, 'to be left out, or a window of 30s or longer')
      }
    })
  }
}

function checkWindow(quota: PartlyEntry<'quotas'>, at: KeyPath, fault: SayFault): void {
  given([quota.unit, quota.window], (unit, window) => {
    if (unit === 'in_flight' && window !== undefined) {
      fault([...at, 'window'], 'to be left out: in_flight counts what is under way, over no window')
    }
    if (unit !== 'in_flight' && window === undefined) {
      fault([...at, 'window'], 'a window, as 1m or day, since the unit is counted over time')
    }
  })
  given([quota.timezone], (timezone) => {
    if (timezone === undefined) return
    if (quota.window !== wrong && quota.window?.kind !== 'calendar') {
      fault(
        [...at, 'timezone'],
        'to be left out: only minute, hour, day, week, month and year have one',
      )
    } else if (!isTimeZone(timezone)) {
      fault([...at, 'timezone'], 'an IANA time zone that this runtime knows, as Europe/Berlin')
    }
  })
}

function checkDimensions(quota: PartlyEntry<'quotas'>, at: KeyPath, fault: SayFault): void {
  refuseRepeats(
    soundItems(quota.by).map(({ index, item }) => ({ at: [...at, 'by', index], name: item })),
    'a dimension',
    fault,
  )
  given([quota.by, quota.groups], (by, groups) => {
    // A dimension that is wrong may have been meant as this one.
    if (groups.length > 0 && !by.includes('group') && !by.includes(wrong)) {
      fault([...at, 'groups'], 'to be left out, or group in by')
    }
    if (groups.length === 0 && by.includes('group')) {
      fault([...at, 'groups'], 'a list of the groups to count by, since by holds group')
    }
  })
}

function checkInspection({ inspection }: FileContent, fault: SayFault): void {
  const personalData = inspection['personal-data']
  given([personalData.action, personalData.kinds], (action, kinds) => {
    if (action !== 'off' && kinds.length === 0) {
      fault(['inspection', 'personal-data', 'kinds'], 'at least one kind, or action: off')
    }
  })
  const lists = soundItems(inspection.prohibited).map(({ index, item }) => ({
    at: ['inspection', 'prohibited', index],
    rule: item,
  }))
  refuseRepeats(
    lists.map(({ at, rule }) => ({ at: [...at, 'name'], name: rule.name })),
    'a list name',
    fault,
  )
  const patterns = lists.reduce(
    (sum, { rule }) => sum + (rule.patterns === wrong ? 0 : rule.patterns.length),
    0,
  )
  if (patterns > maxPatterns) {
    fault(
      ['inspection', 'prohibited'],
      `at most ${String(maxPatterns)} patterns in all lists together, not ${String(patterns)}: each is another pass over every prompt`,
    )
  }
  for (const { at, rule } of lists) {
    given([rule.phrases, rule.patterns], (phrases, written) => {
      if (phrases.length === 0 && written.length === 0) fault(at, 'at least one phrase or pattern')
    })
    for (const { index, item } of soundItems(rule.patterns)) {
      const problem = checkPattern(item)
      if (problem !== undefined) fault([...at, 'patterns', index], problem)
    }
  }
}
