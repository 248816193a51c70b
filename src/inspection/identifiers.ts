/** Digits only. ISO/IEC 7812-1 Annex B: the check digit that catches any one wrong digit. */
export function passesLuhn(digits: string): boolean {
  let sum = 0
  for (let fromRight = 0; fromRight < digits.length; fromRight++) {
    const digit = digits.charCodeAt(digits.length - 1 - fromRight) - 0x30
    const doubled = fromRight % 2 === 1 ? digit * 2 : digit
    sum += doubled > 9 ? doubled - 9 : doubled
  }
  return sum % 10 === 0
}

/** First and last prefix of a range, and the lengths that its cards have. */
const cardRanges: readonly (readonly [first: string, last: string, lengths: readonly number[]])[] =
  [
    ['4', '4', [13, 16, 19]], // Visa
    ['51', '55', [16]], // Mastercard
    ['2221', '2720', [16]],
    ['34', '34', [15]], // American Express
    ['37', '37', [15]],
    ['6011', '6011', [16, 19]], // Discover
    ['644', '649', [16, 19]],
    ['65', '65', [16, 19]], // Discover, RuPay
    ['300', '305', [14, 16]], // Diners Club
    ['3095', '3095', [14, 16]],
    ['36', '36', [14, 16]],
    ['38', '39', [14, 16]],
    ['3528', '3589', [16, 17, 18, 19]], // JCB
    ['62', '62', [16, 17, 18, 19]], // UnionPay
    ['2200', '2204', [16, 17, 18, 19]], // Mir
    ['5018', '5018', [12, 13, 14, 15, 16, 17, 18, 19]], // Maestro
    ['5020', '5020', [12, 13, 14, 15, 16, 17, 18, 19]],
    ['5038', '5038', [12, 13, 14, 15, 16, 17, 18, 19]],
    ['5893', '5893', [12, 13, 14, 15, 16, 17, 18, 19]],
    ['6304', '6304', [12, 13, 14, 15, 16, 17, 18, 19]],
    ['6759', '6763', [12, 13, 14, 15, 16, 17, 18, 19]],
  ]

/** Is it a card number: a prefix that an issuer holds, a length it uses, the check digit? @param digits digits only */
export function isCardNumber(digits: string): boolean {
  // The check digit first: it costs less and turns nine of ten away.
  if (!passesLuhn(digits)) return false
  return cardRanges.some(([first, last, lengths]) => {
    const prefix = digits.slice(0, first.length)
    return prefix >= first && prefix <= last && lengths.includes(digits.length)
  })
}

/**
 * Is it a US social security number? @param digits nine digits
 * @see https://www.ssa.gov/employer/randomization.html area 000, 666 and 9xx, group 00, serial 0000 are never given
 */
export function isSocialSecurityNumber(digits: string): boolean {
  const area = digits.slice(0, 3)
  if (digits.length !== 9 || area === '000' || area === '666' || area >= '900') return false
  if (digits.slice(3, 5) === '00' || digits.slice(5) === '0000') return false
  // Printed in advertisements and used as samples ever since; the SSA lists both as void.
  return digits !== '078051120' && digits !== '219099999'
}

/** Length of an IBAN by country, from the SWIFT IBAN registry. */
const ibanLengths: Readonly<Record<string, number>> = Object.fromEntries(
  (
    'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 ' +
    'FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 ' +
    'LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 ' +
    'RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30'
  )
    .split(' ')
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
)

/** How many characters an IBAN of the country has, 15 to 33; undefined for other letters. */
export function ibanLength(country: string): number | undefined {
  return Object.hasOwn(ibanLengths, country) ? ibanLengths[country] : undefined
}

/** Do the check digits fit? @param iban upper-case letters and digits without spaces. ISO 13616: mod 97 is 1. */
export function passesIbanCheck(iban: string): boolean {
  let remainder = 0
  for (let index = 0; index < iban.length; index++) {
    const unit = iban.charCodeAt((index + 4) % iban.length)
    // A is 10, Z is 35.
    remainder =
      unit <= 0x39 ? (remainder * 10 + unit - 0x30) % 97 : (remainder * 100 + unit - 0x37) % 97
  }
  return remainder === 1
}
