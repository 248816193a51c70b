/**
 * How often inspection is wrong, on labelled texts: `npx tsx bench/inspection-quality.ts DIRECTORY` (or the
 * directory in TOLLGATE_DATA). Reads every `*.jsonl` there: one object a line with `text`, `label`, `source` and
 * perhaps `kind` and `spans`. The texts are not part of this repository.
 *
 * The phrases of the injection detector were chosen with other sources than `unseenSources` in view; what it says
 * about those proves nothing, so recall and false alarms are printed for the unseen ones alone.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDenial } from '../src/denial.js'
import type { Finding } from '../src/inspection/finding.js'
import { compileInspection } from '../src/inspection/inspect.js'
import type { Inspector } from '../src/inspection/inspect.js'
import type { InspectionRules } from '../src/inspection/rules.js'
import type { Provenance, Segment } from '../src/segment.js'

interface Row {
  readonly text: string
  readonly label: string
  readonly source: string
  readonly kind?: string
  readonly spans?: readonly { readonly type: string }[]
}

interface Tally {
  rows: number
  found: number
}

/**
 * Sources whose texts were not looked at when phrases and weights were chosen, but for a handful of rows. Their
 * rates were known when the scale of the weights was set, so false alarms are a little kinder than on new texts.
 */
const unseenSources = new Set([
  ...['CyberSecEval-PI', 'LLMail-Phase1', 'spikee', 'DeepInception', 'Giskard prompt-injections'],
  ...[
    'garak dan',
    'garak tap',
    'GPTFuzz seeds',
    'WildChat',
    'oasst2',
    'jackhhao',
    'PI-and-benign-500',
  ],
  ...['OWASP CheatSheetSeries', 'MITRE ATLAS technique text', 'anthropic-cookbook docs'],
  ...['CyberSecEval instruct', 'spikee investment-advice-fp', 'awesome-chatgpt-prompts-zh'],
])

/** Kinds of rows that came into a conversation from outside it: they are held to the lower threshold. */
const documentKinds = /^(?:indirect|email|web|tool|document|doc|security-doc|template-long)/

const attackLabels = new Set(['injection', 'jailbreak'])

/** What a policy has that turns everything on, at the default thresholds. */
const allOn: InspectionRules = {
  injection: { action: 'block', threshold: 0.9, untrustedThreshold: 0.7 },
  controlTokens: { action: 'block' },
  secrets: { action: 'block' },
  personalData: { action: 'block', kinds: ['credit_card', 'iban', 'us_ssn'] },
  prohibited: [],
}

function readRows(directory: string): readonly Row[] {
  const files = readdirSync(directory).filter((name) => name.endsWith('.jsonl'))
  return files.sort().flatMap((name) =>
    readFileSync(join(directory, name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Row),
  )
}

function provenanceOf(row: Row): Provenance {
  return documentKinds.test(row.kind ?? '') ? 'document' : 'user'
}

/** Labels that say nothing about injection, and prompts that only an operator writes. */
function isLeftOut(row: Row): boolean {
  if (row.kind === 'system-prompt') return true
  return row.label !== 'benign' && !attackLabels.has(row.label)
}

function measureInjection(rows: readonly Row[], inspector: Inspector): void {
  const tallies = new Map<string, Tally>()
  const leftOut = new Map<string, number>()
  const sums = { attack: { rows: 0, found: 0 }, benign: { rows: 0, found: 0 } }
  for (const row of rows) {
    const reason = isLeftOut(row)
      ? `rows labelled ${row.label}${row.kind === 'system-prompt' ? ', system prompts' : ''}`
      : unseenSources.has(row.source)
        ? undefined
        : `${row.source} (seen while the phrases were chosen)`
    if (reason !== undefined) {
      leftOut.set(reason, (leftOut.get(reason) ?? 0) + 1)
      continue
    }
    const provenance = provenanceOf(row)
    const found = findingsIn(inspector, { provenance, text: row.text }).some(
      ({ category }) => category === 'injection' || category === 'control_tokens',
    )
    const side = row.label === 'benign' ? 'benign' : 'attack'
    const key = `${side === 'benign' ? 'false alarms' : 'recall      '}  ${row.source}, as ${provenance}`
    count(tallies, key, found)
    sums[side].rows++
    if (found) sums[side].found++
  }
  console.log('Injection and control tokens, on sources that were not seen:')
  printTallies(tallies)
  console.log(`  ${'recall        all of them'.padEnd(64)}${share(sums.attack)}`)
  console.log(`  ${'false alarms  all of them'.padEnd(64)}${share(sums.benign)}`)
  console.log('Left out:')
  for (const [reason, rowCount] of leftOut)
    console.log(`  ${String(rowCount).padStart(6)} ${reason}`)
}

function findingsIn(inspector: Inspector, segment: Segment): readonly Finding[] {
  const found = inspector.inspect([segment])
  if (isDenial(found)) throw new Error(found.message)
  return found
}

const personalTypes = new Set(['CREDIT_CARD', 'IBAN_CODE', 'US_SSN'])

function measureFormats(rows: readonly Row[], inspector: Inspector): void {
  const secrets = new Map<string, Tally>()
  const personal = new Map<string, Tally>()
  for (const row of rows) {
    const categories = new Set(
      findingsIn(inspector, { provenance: 'user', text: row.text }).map(({ category }) => category),
    )
    const hasSecret = row.label === 'secret'
    const side = hasSecret ? 'recall      ' : 'false alarms'
    if (hasSecret || row.label === 'benign') {
      count(secrets, `${side}  ${row.source}`, categories.has('secrets'))
    }
    const hasNumber = row.spans?.some(({ type }) => personalTypes.has(type)) === true
    if (hasNumber || row.label === 'benign') {
      const key = `${hasNumber ? 'recall      ' : 'false alarms'}  ${row.source}`
      count(personal, key, categories.has('personal_data'))
    }
  }
  console.log('Secrets (formats were chosen with these sources in view):')
  printTallies(secrets, { onlyFound: true })
  console.log('Card numbers, IBANs, social security numbers (the same):')
  printTallies(personal, { onlyFound: true })
}

function count(tallies: Map<string, Tally>, key: string, found: boolean): void {
  const tally = tallies.get(key) ?? { rows: 0, found: 0 }
  tally.rows++
  if (found) tally.found++
  tallies.set(key, tally)
}

/** @param options.onlyFound leave out sources in which nothing was found, and say how many rows they have */
function printTallies(tallies: ReadonlyMap<string, Tally>, options?: { onlyFound: true }): void {
  let silentRows = 0
  for (const [key, tally] of [...tallies].sort(([a], [b]) => b.localeCompare(a))) {
    if (options !== undefined && tally.found === 0 && key.startsWith('false')) {
      silentRows += tally.rows
      continue
    }
    console.log(`  ${key.padEnd(64)}${share(tally)}`)
  }
  if (silentRows > 0) console.log(`  no false alarm in the other ${String(silentRows)} rows`)
}

function share({ rows, found }: Tally): string {
  return `${((100 * found) / rows).toFixed(1).padStart(5)} %  ${String(found)} of ${String(rows)}`
}

const directory = process.argv[2] ?? process.env['TOLLGATE_DATA']
if (directory === undefined || directory === '') {
  console.error(
    'inspection-quality: name a directory of labelled *.jsonl files, as an argument or in TOLLGATE_DATA',
  )
  process.exit(2)
}
const rows = readRows(directory)
if (rows.length === 0) {
  console.error(`inspection-quality: no *.jsonl rows in ${directory}`)
  process.exit(2)
}
const inspector = compileInspection(allOn)
measureInjection(rows, inspector)
measureFormats(rows, inspector)
