/**
 * How often a property is tried: `make test` takes the number as written, `make proof` forty times as many
 * (`PROOF_SCALE`).
 */
export function runs(count: number): number {
  return count * proofScale
}

export const proofScale = Number(process.env['PROOF_SCALE'] ?? '1')
