/**
 * How often a property is tried: `make test` takes the number as written, `make proof` forty times as many
 * (`PROOF_SCALE`).
 */
export function runs(count: number): number {
  return count * proofScale
}

export const proofScale = Number(process.env['PROOF_SCALE'] ?? '1')

/** Of what takes seconds: once in `make test`, 20 times in `make proof`. */
export const fewRuns = Math.ceil(proofScale / 2)

/** Of a property that is cheap to try a few times, and that counts: 10,000 times at least in `make proof`. */
export function manyRuns(count: number): number {
  return proofScale === 1 ? count : Math.max(runs(count), 250 * proofScale)
}
