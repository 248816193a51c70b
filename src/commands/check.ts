import { checkFiles } from '../config/check-files.js'
import { checkEnvoyFile } from '../config/envoy-check.js'
import type { EnvoyTerms } from '../config/envoy-terms.js'
import { readPolicyFile, readText } from '../config/load.js'
import type { Config } from '../config/load.js'
import { formatAddress } from '../config/address.js'
import { internalHeaders, reservedHeaders } from '../envoy/internal-headers.js'
import { reportDomain, reportNames } from '../envoy/report.js'
import { ConfigError } from '../errors.js'
import type { ConfigFault } from '../errors.js'
import type { ApiKey } from '../identity/api-keys.js'
import { bindsModel, matchesPattern } from '../policy.js'
import type { Grant, Policy } from '../policy.js'
import type { PolicyQuota } from '../quota/limits.js'
import { formatAmount } from '../quota/units.js'
import { answerOf } from '../quota/quota.js'
import type { OnStoreFailure, Quota } from '../quota/quota.js'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../units.js'
import { noOperands, readArguments, required } from './arguments.js'
import { checkRateLimits, tellWarnings } from './check-rate-limits.js'
import { exitCodes } from './command.js'
import type { Command } from './command.js'

export const check: Command = {
  name: 'check',
  summary: "find every fault of a policy, and of Envoy's configuration beside it",
  help: `Usage: tollgate check --policy FILE [--envoy FILE] [--files]

Reads the policy and its rate limit files, and prints their faults by line, each with key, value and what would be
right. A rule that needs a value which is wrong is left out until that is mended; where a file is no YAML (its syntax,
but in rate limit files a key twice, in the policy an alias or a tag), that comes first and alone.
Without a fault it prints who may call what, and which quotas bind that. A line of a rate limit file that does not
mean what it looks like, as a key given twice, is a warning.

  --policy FILE  the policy
  --envoy FILE   also compare Envoy's static configuration with it: a pool without a route, another body cap,
                 streams longer than their lease, ways around Tollgate, a report that is not whole
  --files        also open the files that the policy names: keys, certificates, the directory of the audit file.
                 For where it will run; without it they are named as not looked at. Rate limit files are read
                 without it, too, if their directory is there

Exit codes:
  0  no fault; there may be warnings, on standard error
  1  faults, on standard error
  2  the command line is wrong`,
  async run(args, terminal) {
    const { values, positionals } = readArguments(args, {
      policy: { type: 'string' },
      envoy: { type: 'string' },
      files: { type: 'boolean', default: false },
    })
    noOperands(positionals)
    const policyFile = required(values.policy, '--policy FILE')
    const envoyFile =
      values.envoy === undefined ? undefined : required(values.envoy, '--envoy FILE')
    const { config, faults, files, envoyTerms, rateLimits } = readPolicyFile(
      policyFile,
      values.files ? checkFiles : undefined,
    )
    const limits = checkRateLimits(rateLimits, values.files)
    const all = [
      ...faults,
      ...limits.faults,
      ...(envoyFile === undefined ? [] : compareWithEnvoy(envoyFile, envoyTerms)),
    ]
    tellWarnings(limits.warnings, terminal)
    if (config === undefined || all.length > 0) throw new ConfigError(all)
    for (const line of heading(policyFile, config)) terminal.out(line)
    const named = [...files.map(({ key }) => key), ...limits.notRead]
    if (named.length > 0) terminal.out(describeFiles(named, values.files))
    for (const line of limits.lines) terminal.out(line)
    for (const line of summary(config.policy)) terminal.out(line)
    if (envoyFile !== undefined) terminal.out(`${envoyFile}: agrees with the policy`)
    return exitCodes.ok
  },
}

function compareWithEnvoy(file: string, terms: EnvoyTerms): readonly ConfigFault[] {
  try {
    return checkEnvoyFile(file, readText(file), terms, {
      reservedHeaders,
      poolHeader: internalHeaders.pool,
      reportDomain,
      reportNames,
    })
  } catch (error) {
    // A file that cannot be read hides no fault of the policy.
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

function describeFiles(names: readonly string[], opened: boolean): string {
  const keys = names.join(', ')
  return opened ? `files opened: ${keys}` : `files not looked at (--files opens them): ${keys}`
}

function heading(file: string, { policy, settings }: Config): readonly string[] {
  return [
    `${file}: no fault, generation ${policy.generation}`,
    `listens on ${formatAddress(settings.listen.grpc)}, ledger ${settings.ledger.kind}, audit ${settings.audit?.file ?? 'none'}`,
  ]
}

function summary(policy: Policy): readonly string[] {
  return [
    '',
    ...(policy.apiKeys.length === 0 ? [] : ['API keys:', ...policy.apiKeys.map(describeApiKey)]),
    'Models:',
    ...policy.models.map((model) => {
      const covered = policy.grants.some((grant) => covers(grant, model.name))
      return `  ${model.name} in pool ${model.pool}${covered ? '' : ' (no grant covers it)'}`
    }),
    'Grants:',
    ...policy.grants.flatMap((grant) => describeGrant(grant, policy)),
  ]
}

function describeApiKey({ id, tenant, subject, client, groups, expiresAtEpochMs }: ApiKey): string {
  const who = [
    `tenant ${tenant}`,
    `subject ${subject}`,
    ...(client === undefined ? [] : [`client ${client}`]),
    ...(groups.length === 0 ? [] : [`groups ${groups.join(' and ')}`]),
    ...(expiresAtEpochMs === undefined
      ? []
      : [`until ${new Date(expiresAtEpochMs).toISOString()}`]),
  ]
  return `  ${id}: ${who.join(', ')}`
}

function covers(grant: Grant, modelName: string): boolean {
  return grant.models.some((pattern) => matchesPattern(pattern, modelName))
}

function describeGrant(grant: Grant, policy: Policy): readonly string[] {
  const who = [
    ...(grant.anyone ? ['every verified caller'] : []),
    ...describeList('tenant', grant.tenants),
    ...describeList('group', grant.groups),
    ...describeList('client', grant.clients),
  ].join(' and ')
  const lines = [`  ${grant.name}: ${who}`]
  if (grant.paths.length > 0) lines.push(`    paths ${grant.paths.join(', ')}`)
  for (const model of policy.models.filter((candidate) => covers(grant, candidate.name))) {
    const cap = grant.maxOutputTokens ?? model.defaultOutputTokens
    const quotas = policy.quotas.filter((quota) => bindsModel(quota, model.name))
    lines.push(`    model ${model.name}, at most ${String(cap)} output tokens a request`)
    if (quotas.length === 0) lines.push('      no quota')
    for (const quota of quotas) lines.push(`      ${describeQuota(quota)}`)
  }
  return lines
}

function describeList(what: string, values: readonly string[]): readonly string[] {
  return values.length === 0 ? [] : [`${what} ${values.join(' or ')}`]
}

/** By default it is as with anything else that is away: 503. */
const whileAway = {
  deny: '',
  local: '; its share while its store is away',
  allow: '; uncounted while its store is away',
} satisfies Record<OnStoreFailure, string>

function describeQuota(quota: PolicyQuota): string {
  const by = quota.by.length === 0 ? 'all callers together' : `each ${quota.by.join(', ')}`
  const shadow = quota.shadow ? ' (shadow: never refuses)' : ''
  const sliced = quota.slices === true ? '; from slices' : ''
  const away = whileAway[answerOf(quota)]
  return `${quota.name}: ${formatAmount(quota.unit, quota.limit)} ${quota.unit}${describeWindow(quota)} for ${by}${describeLimits(quota)}${sliced}${away}${shadow}`
}

function describeLimits({ unit, overrides = [], limitClaim }: PolicyQuota): string {
  const count = overrides.length
  const others = count === 0 ? [] : [`${String(count)} override${count === 1 ? '' : 's'}`]
  const claimed = limitClaim && [
    `claim ${limitClaim.claim}, at most ${formatAmount(unit, limitClaim.atMost)}`,
  ]
  const all = [...others, ...(claimed ?? [])]
  return all.length === 0 ? '' : `; other limits by ${all.join(' and by ')}`
}

function describeWindow({ window }: Quota): string {
  switch (window.kind) {
    case 'open':
      return ' at once'
    case 'sliding':
      return ` in any ${describeDuration(window.lengthMs)}`
    case 'calendar':
      return ` per calendar ${window.period} (${window.timeZone})`
    case 'fixed':
      return ` per fixed ${describeDuration(window.lengthMs)}`
  }
}

function describeDuration(durationMs: number): string {
  const units = [
    ['d', DAY_MS],
    ['h', HOUR_MS],
    ['m', MINUTE_MS],
    ['s', SECOND_MS],
  ] as const
  const unit = units.find(([, lengthMs]) => durationMs % lengthMs === 0)
  return unit === undefined
    ? `${String(durationMs)} ms`
    : `${String(durationMs / unit[1])}${unit[0]}`
}
