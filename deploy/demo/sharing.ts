import { demoCallers } from './stack.js'
import type { Stack } from './stack.js'
import type { Tollgate } from './tollgate.js'

/** What one of the caller's quotas has spent, holds and owes. */
interface Spending {
  readonly quota: string
  readonly spent: number
  readonly reserved: number
  readonly debt: number
}

/** What a Tollgate says that a caller's tenant has used of today: spent, held and owed. Nothing for nobody. */
export async function usedToday(tollgate: Tollgate, caller: string | undefined): Promise<number> {
  const tenant = demoCallers.find(({ name }) => name === caller)?.tenant
  if (tenant === undefined) return 0
  const response = await fetch(`${tollgate.adminUrl}/usage?tenant=${tenant}`)
  const { quotas } = (await response.json()) as { quotas: readonly Spending[] }
  const day = quotas.find(({ quota }) => quota === 'tenant-day')
  if (day === undefined) throw new Error('/usage no longer shows the quota tenant-day')
  return day.spent + day.reserved + day.debt
}

/** Checks that a Tollgate has decided. */
export async function decisionsOf(tollgate: Tollgate): Promise<number> {
  const text = await (await fetch(`${tollgate.metricsUrl}/metrics`)).text()
  const counts = text.split('\n').filter((line) => line.startsWith('tollgate_decisions_total{'))
  return counts.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0)
}

/**
 * Prints how two Tollgates shared the demo's requests and what each knows of the spending.
 *
 * @returns whether both decided, and both know the same
 */
export async function showSharing(
  first: Tollgate,
  second: Tollgate,
  print: (line: string) => void,
): Promise<boolean> {
  const both = [first, second]
  const [decidedFirst = 0, decidedSecond = 0] = await Promise.all(both.map(decisionsOf))
  const [usedFirst, usedSecond] = await Promise.all(both.map((each) => usedToday(each, 'alice')))
  print(
    `Envoy asked both: ${String(decidedFirst)} decisions of the first Tollgate, ${String(decidedSecond)} of the second`,
  )
  print(
    `Of today's tokens acme has used ${String(usedFirst)} says the first, ${String(usedSecond)} says the second: one balance, in Redis`,
  )
  return decidedFirst > 0 && decidedSecond > 0 && usedFirst === usedSecond
}

/** Where the reports of a stack can be found: one may come to either Tollgate, whichever admitted its request. */
export function auditFilesOf({ tollgate, second }: Stack): readonly string[] {
  return [tollgate, ...(second === undefined ? [] : [second])].map(({ auditFile }) => auditFile)
}
