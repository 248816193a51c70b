import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createPersonalDataDetector } from '../../src/inspection/detectors/personal-data.js'
import { isCardNumber, passesIbanCheck, passesLuhn } from '../../src/inspection/identifiers.js'
import { hitsOf } from './hits.js'

const detector = createPersonalDataDetector(['credit_card', 'iban', 'us_ssn', 'email', 'phone'])
const seen = (text: string): readonly string[] =>
  hitsOf(detector, text).map((hit) => `${hit.rule}:${hit.text}`)

describe('personal data is found', () => {
  test.each([
    ['credit_card', '4111111111111111'],
    ['credit_card', '4111 1111 1111 1111'],
    ['credit_card', '5500-0055-5555-5559'],
    ['credit_card', '378282246310005'],
    ['credit_card', '3782 822463 10005'],
    ['credit_card', '6011000990139424'],
    ['credit_card', '2223003122003222'],
    ['credit_card', '３５３０ １１１３ ３３３０ ００００'],
    ['credit_card', '4111 11\u200b11 1111 1111'],
    ['credit_card', '4111\u20101111\u20101111\u20101111'],
    ['credit_card', '4111\u20111111\u20111111\u20111111'],
    ['credit_card', '4111\u20121111\u20121111\u20121111'],
    ['credit_card', '4111–1111–1111–1111'],
    ['credit_card', '4111—1111—1111—1111'],
    ['credit_card', '4111−1111−1111−1111'],
    ['iban', 'GB82–WEST–1234–5698–7654–32'],
    ['us_ssn', '536–22–8731'],
    ['iban', 'DE89370400440532013000'],
    ['iban', 'GB82 WEST 1234 5698 7654 32'],
    ['iban', 'NO93 8601 1117 947'],
    ['iban', 'MT84 MALT 0110 0001 2345 MTLC AST0 01S'],
    ['us_ssn', '536-22-8731'],
    ['us_ssn', '536 22 8731'],
    ['email', 'ann.lee+x@mail.firm.co'],
    ['email', 'jörg@münchen.de'],
    ['phone', '+44 20 7946 0958'],
    ['phone', '+1 (415) 555-2671'],
    ['phone', '(415) 555-2671'],
    ['phone', '415-555-2671'],
    ['phone', '1-415-555-2671'],
  ])('%s %s', (kind, value) => {
    expect(seen(`Mine is ${value}, thanks`)).toEqual([`${kind}:${value}`])
  })

  test.each([
    'Visa4111111111111111',
    '4111111111111111exp',
    'PAN4111 1111 1111 1111is',
    'é4111111111111111é',
  ])('a card that touches words: %s', (text) => {
    expect(seen(`(${text})`)).toEqual([expect.stringMatching(/^credit_card:4111[ 1]*$/)])
  })

  test('a card with its expiry date behind it', () => {
    expect(seen('4111 1111 1111 1111 12/29')).toEqual(['credit_card:4111 1111 1111 1111'])
  })

  test('a card after other groups of digits', () => {
    expect(seen('Order 1234 4111 1111 1111 1111')).toEqual(['credit_card:4111 1111 1111 1111'])
  })

  test('nine digits where the text says what they are', () => {
    expect(seen('SSN: 536228731')).toEqual(['us_ssn:536228731'])
    expect(seen('Ticket 536228731')).toEqual([])
  })
})

describe('look-alikes are no finding', () => {
  test.each([
    ['a wrong check digit', '4111111111111112'],
    ['a prefix that no issuer holds', '9111111111111111'],
    ['a longer number', '41111111111111111111111'],
    ['digits in an identifier', 'id_4111111111111111 a1x4111111111111111 4111111111111111y7'],
    ['digits in a hash', 'f0cab4111111111111111d9e'],
    ['a wrong check digit behind a word', 'Visa4111111111111112'],
    ['a prefix that no issuer holds behind a word', 'Visa9111111111111111'],
    ['a short card number behind a word', 'EAN4222222222222'],
    ['a table of small numbers', '4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1'],
    ['mixed separators', '4111 1111-1111 1111'],
    ['a wrong IBAN', 'DE89370400440532013001'],
    ['an IBAN of the wrong length', 'DE8937040044053201300'],
    ['a country without IBANs', 'US89370400440532013000'],
    ['area 000, 666 and 900', '000-12-3456 666-12-3456 900-12-3456'],
    ['group 00 and serial 0000', '536-00-8731 536-22-0000'],
    ['the numbers of advertisements', '078-05-1120 219-09-9999'],
    ['an address for examples', 'a@example.com b@mail.example c@x.test'],
    ['no address', 'a@ @b user@host x@y..com'],
    ['a version and a date', '2026-11-24 10.20.30 1.2.3.4'],
    ['a time stamp', '1782070304123'],
    ['an exchange that begins with 1', '415-155-2671'],
  ])('%s', (_name, text) => {
    expect(seen(`See ${text} there`)).toEqual([])
  })

  test('kinds that the policy does not name', () => {
    const onlyCards = createPersonalDataDetector(['credit_card'])
    expect(hitsOf(onlyCards, 'ann@firm.co, 536-22-8731, DE89370400440532013000')).toEqual([])
  })
})

describe('check digits', () => {
  test('of Luhn turn away every change of one digit', () => {
    fc.assert(
      fc.property(fc.nat(14), fc.integer({ min: 1, max: 9 }), (place, change) => {
        const digits = [...'4111111111111111']
        digits[place] = String((Number(digits[place]) + change) % 10)
        expect(passesLuhn(digits.join(''))).toBe(false)
      }),
    )
  })

  test('of an IBAN turn away every change of one digit', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 21 }),
        fc.integer({ min: 1, max: 9 }),
        (place, change) => {
          const iban = [...'DE89370400440532013000']
          iban[place] = String((Number(iban[place]) + change) % 10)
          expect(passesIbanCheck(iban.join(''))).toBe(false)
        },
      ),
    )
  })

  test('alone do not make a card', () => {
    expect(passesLuhn('0000000000000000')).toBe(true)
    expect(isCardNumber('0000000000000000')).toBe(false)
  })
})
