import { readFile } from 'node:fs/promises'

/** The end of one reservation, as the audit file tells it. */
export interface EndOfRequest {
  readonly outcome: string
  readonly reservedTokens: number
  readonly inputTokens: number | null
  readonly outputTokens: number | null
}

/**
 * The end record of an audit id. The report comes after the answer, so it is waited for.
 *
 * @param auditFiles of every process that the report may have come to
 * @throws Error it did not come within `timeoutMs`
 */
export async function waitForEnd(
  auditFiles: readonly string[],
  auditId: string,
  timeoutMs: number,
): Promise<EndOfRequest> {
  const deadlineMs = performance.now() + timeoutMs
  for (;;) {
    for (const auditFile of auditFiles) {
      const end = findEnd(await readFile(auditFile, 'utf8'), auditId)
      if (end !== undefined) return end
    }
    if (performance.now() > deadlineMs) {
      throw new Error(
        `no end of ${auditId} in ${auditFiles.join(', ')} after ${String(timeoutMs)} ms`,
      )
    }
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

function findEnd(text: string, auditId: string): EndOfRequest | undefined {
  for (const line of text.split('\n')) {
    // The last line may be on its way.
    if (!line.endsWith('}') || !line.includes(auditId)) continue
    const record: unknown = JSON.parse(line)
    if (isEndOf(record, auditId)) return record
  }
  return undefined
}

function isEndOf(record: unknown, auditId: string): record is EndOfRequest {
  return (
    typeof record === 'object' &&
    record !== null &&
    'type' in record &&
    record.type === 'end' &&
    'auditId' in record &&
    record.auditId === auditId
  )
}
