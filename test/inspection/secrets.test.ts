import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createSecretsDetector } from '../../src/inspection/detectors/secrets.js'
import { documents, read, root } from '../markdown.js'
import { hitsOf, rulesOf } from './hits.js'

const detector = createSecretsDetector()

/** Letters and digits that look drawn: nothing in this file is a credential of anybody. */
function drawn(
  length: number,
  alphabet = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789',
): string {
  let state = 42
  let text = ''
  for (let index = 0; index < length; index++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    text += alphabet[(state >>> 8) % alphabet.length] ?? ''
  }
  return text
}
const hex = (length: number): string => drawn(length, '0123456789abcdef')
const base64url = (value: object): string =>
  Buffer.from(JSON.stringify(value)).toString('base64url')
const jwt = `${base64url({ alg: 'RS256', typ: 'JWT' })}.${base64url({ sub: 'u', exp: 1 })}.${drawn(86)}`
const pem = `-----BEGIN RSA PRIVATE KEY-----\n${drawn(64)}\n${drawn(64)}\n-----END RSA PRIVATE KEY-----`

describe('credentials are found, whole', () => {
  test.each([
    ['aws_access_key', `AKIA${drawn(16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}`],
    ['google_api_key', `AIza${drawn(35)}`],
    ['github', `ghp_${drawn(36)}`],
    ['github', `github_pat_${drawn(22)}_${drawn(59)}`],
    ['gitlab', `glpat-${drawn(20)}`],
    ['slack', `xoxb-${drawn(12, '0123456789')}-${drawn(24)}`],
    ['slack_webhook', `hooks.slack.com/services/T${drawn(8)}/B${drawn(8)}/${drawn(24)}`],
    ['stripe', `sk_live_${drawn(24)}`],
    ['openai', `sk-proj-${drawn(74)}`],
    ['anthropic', `sk-ant-api03-${drawn(93)}`],
    ['huggingface', `hf_${drawn(34)}`],
    ['npm', `npm_${drawn(36)}`],
    ['sendgrid', `SG.${drawn(22)}.${drawn(43)}`],
    ['databricks', `dapi${hex(32)}`],
    ['digitalocean', `dop_v1_${hex(64)}`],
    ['azure_storage', `AccountKey=${drawn(86)}==`],
    ['jwt', jwt],
    ['private_key', pem],
    ['private_key', pem.replaceAll('\n', '\\n')],
    ['connection_string', `postgres://app:${drawn(14)}@db.internal:5432/main`],
    ['connection_string', `mongodb+srv://app:${drawn(14)}@cluster0.internal`],
    ['assigned_secret', `DB_PASSWORD=${drawn(18)}`],
    ['assigned_secret', `"api_key": "${drawn(32)}`],
    ['assigned_secret', `aws_secret_access_key = ${drawn(40)}`],
    ['assigned_secret', `access_tokens: ${drawn(20)}`],
    ['assigned_secret', `authToken2 = "${hex(32)}"`],
    ['assigned_secret', `clientSecretValue: ${drawn(24, 'abcdefghijklmnopqrstuvwxyz0123456789')}`],
    ['assigned_secret', `SECRET_KEY_BASE=${hex(64)}`],
    ['assigned_secret', `API_KEY_OPENAI=${drawn(24)}`],
    ['assigned_secret', `PASSWORD_HASH: ${drawn(30)}`],
    ['assigned_secret', 'password: Summer2024Rain!'],
    ['assigned_secret', 'db_password=sunflower42beach'],
    ['assigned_secret', 'DB_PASSWORD=winter_is_coming_2024'],
    ['assigned_secret', 'DB_PASSWORD=correct-horse-battery-staple-7'],
    ['assigned_secret', 'pwd = "winter_is_coming_2024"'],
    ['tollgate', `tgk_${drawn(43)}`],
  ])('%s in %s', (rule, secret) => {
    const hits = hitsOf(detector, `My key:\n${secret}\nWhy?`)
    expect(hits.map((hit) => hit.rule)).toEqual([rule])
    // An assignment may be read from the middle of its name, an address without its path.
    expect(secret).toContain(hits[0]?.text)
    expect(hits[0]?.text.length).toBeGreaterThan(secret.length / 2)
  })

  const random = drawn(24)
  const bot = `${drawn(24)}.${drawn(6)}.${drawn(27)}`
  test.each([
    ...[`DISCORD_BOT_TOKEN=${bot}`, `FB_PAGE_TOKEN=${random}`, `bot:\n  token: "${bot}"`],
    ...[`image:\n  token: ${hex(32)}`, `# end\nTOKEN=${hex(32)}`, `# page\nTOKEN=${hex(32)}`],
    ...[`stop\ntoken=${random}`, `my bot token: ${random}`, `START_TOKEN=${random}`],
    ...[`pad token=${random}`, `nextToken2: x\ntoken=${random}`],
  ])('after a token, whatever word stands before it: %s', (secret) => {
    expect(rulesOf(detector, secret)).toEqual(['assigned_secret'])
  })

  test.each([
    ...[
      'secretkey',
      'SECRETKEY',
      'AWS_SECRETKEY',
      'STRIPE_SECRETKEY',
      '"secretkey"',
      'my.secretkey',
    ],
    ...['passwordhash', 'passwordprod', 'PASSWORDDEV', 'tokenvalue', 'credentialsjson'],
    ...['secretkeybase', 'API_KEY_SERVICE', 'SECRET_KEY_MODEL', 'API_KEY_STATUS', 'password_at'],
    ...['VAULT_TOKEN_PROVIDER', 'secret_access_key_date'],
  ])('after %s', (name) => {
    for (const value of [random, hex(32)]) {
      for (const text of [`${name}=${value}`, `${name}: "${value}"`])
        expect(rulesOf(detector, text), text).toEqual(['assigned_secret'])
    }
  })

  test('cut by zero-width characters', () => {
    expect(rulesOf(detector, `ghp_${drawn(18)}\u200b${drawn(18)}`)).toEqual(['github'])
  })

  test('in full-width letters', () => {
    const wide = [...`ghp_${drawn(36)}`]
      .map((one) => String.fromCharCode(one.charCodeAt(0) + 0xfee0))
      .join('')
    expect(rulesOf(detector, wide)).toEqual(['github'])
  })

  test('in a header, with the full stop of the sentence left out', () => {
    expect(hitsOf(detector, `Use SG.${drawn(22)}.${drawn(43)}.`)[0]?.text.endsWith('.')).toBe(false)
  })
})

describe('look-alikes are no finding', () => {
  test.each([
    ['a sample of the documentation', 'AKIAIOSFODNN7EXAMPLE'],
    [
      'a placeholder',
      'sk-ant-api03-your-key-here-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
    ],
    ['a filler', `ghp_${'x'.repeat(36)}`],
    ['one letter over and over', `hf_${'aB'.repeat(17)}`],
    ['a prefix inside a word', `myAKIA${drawn(16, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567')}`],
    ['too short', `ghp_${drawn(20)}`],
    ['a commit', `commit ${hex(40)}`],
    ['a certificate', `-----BEGIN CERTIFICATE-----\n${drawn(64)}\n-----END CERTIFICATE-----`],
    ['an empty key block', '-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----'],
    ['an address without a password', 'postgres://localhost:5432/app'],
    ['an address with a placeholder', 'postgres://user:password@localhost/app'],
    ['an address with a variable', 'redis://app:${REDIS_PASSWORD}@cache:6379'],
    ['a variable of the environment', 'const apiKey = process.env.API_KEY'],
    ['a call', 'password = getPassword1234(user)'],
    ['words about passwords', 'My password: correct horse battery staple'],
    ['a question', 'Which token: the first or the second?'],
    ['a bearer of another kind', 'eyJhbGciOiJub3QganNvbg'],
    ['a UUID without a name', '3f2b8c1e-9d4a-4e6f-8a7b-1c2d3e4f5a6b'],
    ['a tokenizer', 'tokenizer: o200k_base is what I use. Is that right?'],
    ['a tokenizer with a random name', `tokenizer: ${drawn(16)}`],
    ['a class of a tokenizer', '"tokenizer_class": "Qwen2TokenizerFast"'],
    ['a class of tokens', `tokenClass = "${drawn(16)}"`],
    ['a token of a model', 'pad_token = "reserved_special_token_0"'],
    ['a token of a model with a random text', `eosToken: ${drawn(16)}`],
    ['a price', `price_per_token: ${drawn(16)}`],
    ['a rate', `tokens_per_second: ${drawn(16)}`],
    ['tokens of an encoding', 'tokens: o200k_base'],
    ['a rule about passwords', 'password_policy: min12chars'],
    ['a secretary', 'secretary: john_smith99'],
    ['a secretary with a random name', `SECRETARY: ${drawn(16)}`],
    ['a place where credentials are', 'credentials: see_appendix_4'],
    ['a name of a password', 'password: company_database_login_2'],
    ['words with a date', 'token: valid_maintenance_request_11282023'],
    ['a tokenization', `tokenization: ${drawn(24)}`],
    ['what needs no password', `passwordless=${drawn(24)}`],
    ['an id of a token in one word', `tokenid=${hex(32)}`],
    ['a manager of secrets in one word', `secretsmanager: ${drawn(24)}`],
    ['a page to go on with', `nextToken=${drawn(24)}`],
    ['a place of a token of a model', `special_token=${drawn(24)}`],
    ['a time', 'token_expires_at: 2026-03-17T12:45:38Z'],
    ['a date', 'password_date=2026-03-17T12'],
    ['a model', 'token_model: gpt-4o-2024-08-06'],
    ['a service', 'password_service=keycloak-prod-eu-1'],
    ['a status', 'api_key_status=rotated_2024_by_admin'],
    ['a name of a token in small letters', 'TOKEN=winter_is_coming_2024'],
    ['a version of a key', `api_key_version_2: ${drawn(16)}`],
  ])('%s', (_name, text) => {
    expect(rulesOf(detector, `See ${text} please`)).toEqual([])
  })
})

describe("the project's own documents and policies hold no secret", () => {
  const deployed = readdirSync(join(root, 'deploy'), { encoding: 'utf8', recursive: true })
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => `deploy/${file}`)

  test.each([...documents, ...deployed, 'envoy.yaml'])('%s', (file) => {
    expect(hitsOf(detector, read(file)).map(({ text }) => text)).toEqual([])
  })
})
