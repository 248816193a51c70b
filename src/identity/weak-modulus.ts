/** The 38 odd primes up to 167, with the residues that a product of the weak generator's primes can leave. */
const residues = [
  3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
  103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
].map((prime) => ({ prime: BigInt(prime), powers: powersOf65537(prime) }))

function powersOf65537(prime: number): ReadonlySet<bigint> {
  const powers = new Set<bigint>()
  for (let power = 1; !powers.has(BigInt(power)); power = (power * (65537 % prime)) % prime) {
    powers.add(BigInt(power))
  }
  return powers
}

/**
 * Was this RSA modulus made by the generator of CVE-2017-15361 (ROCA), whose private keys can be computed?
 *
 * That generator builds primes as k * M + (65537^a mod M), M being a product of small primes, so modulo each of
 * them the modulus is a power of 65537. A random modulus passes all of them once in about 2^27.
 */
export function isWeakModulus(modulus: bigint): boolean {
  return residues.every(({ prime, powers }) => powers.has(modulus % prime))
}
