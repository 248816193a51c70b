/** Which characters the secret part of a credential is made of. */
export type Alphabet = 'alphanumeric' | 'base64url' | 'base64' | 'hex' | 'upperBase32' | 'dotted'

/** A credential whose issuer gave it a prefix: found by the prefix, believed by alphabet and length. */
export interface SecretFormat {
  readonly rule: string
  /** Case counts. */
  readonly prefix: string
  readonly alphabet: Alphabet
  /** Length of what follows the prefix. */
  readonly minLength: number
  readonly maxLength: number
  /** Text that the secret part must hold, where the prefix alone is too common. */
  readonly holds?: string
}

type Row = readonly [
  rule: string,
  prefix: string,
  alphabet: Alphabet,
  minLength: number,
  maxLength: number,
  holds?: string,
]

// From the issuers' documentation; where none gives the length, the shortest that is issued.
const rows: readonly Row[] = [
  ['aws_access_key', 'AKIA', 'upperBase32', 16, 16],
  ['aws_access_key', 'ASIA', 'upperBase32', 16, 16],
  ['aws_access_key', 'ABIA', 'upperBase32', 16, 16],
  ['aws_bedrock', 'ABSK', 'base64', 109, 269],
  ['google_api_key', 'AIza', 'base64url', 35, 35],
  ['google_oauth', 'GOCSPX-', 'base64url', 28, 28],
  ['google_oauth', 'ya29.', 'base64url', 30, 1024],
  ['github', 'ghp_', 'alphanumeric', 36, 255],
  ['github', 'gho_', 'alphanumeric', 36, 255],
  ['github', 'ghu_', 'alphanumeric', 36, 255],
  ['github', 'ghs_', 'alphanumeric', 36, 255],
  ['github', 'ghr_', 'alphanumeric', 36, 255],
  ['github', 'github_pat_', 'base64url', 70, 255],
  ['gitlab', 'glpat-', 'base64url', 20, 300],
  ['gitlab', 'gldt-', 'base64url', 20, 300],
  ['gitlab', 'glrt-', 'base64url', 20, 300],
  ['slack', 'xoxb-', 'base64url', 30, 255],
  ['slack', 'xoxp-', 'base64url', 30, 255],
  ['slack', 'xoxa-', 'base64url', 30, 255],
  ['slack', 'xoxs-', 'base64url', 30, 255],
  ['slack', 'xoxe-', 'base64url', 30, 255],
  ['slack', 'xapp-', 'base64url', 30, 255],
  ['slack_webhook', 'hooks.slack.com/services/', 'base64', 40, 80],
  ['discord_webhook', 'discord.com/api/webhooks/', 'dotted', 60, 120],
  ['stripe', 'sk_live_', 'alphanumeric', 16, 255],
  ['stripe', 'rk_live_', 'alphanumeric', 16, 255],
  ['stripe', 'whsec_', 'base64', 32, 64],
  ['openai', 'sk-proj-', 'base64url', 40, 255],
  ['openai', 'sk-svcacct-', 'base64url', 40, 255],
  ['openai', 'sk-admin-', 'base64url', 40, 255],
  ['openai', 'sk-', 'alphanumeric', 48, 64],
  ['anthropic', 'sk-ant-', 'base64url', 80, 255],
  ['openrouter', 'sk-or-v1-', 'hex', 64, 64],
  ['xai', 'xai-', 'alphanumeric', 64, 128],
  ['tollgate', 'tgk_', 'base64url', 43, 43],
  ['groq', 'gsk_', 'alphanumeric', 48, 64],
  ['huggingface', 'hf_', 'alphanumeric', 34, 40],
  ['replicate', 'r8_', 'alphanumeric', 37, 37],
  ['nvidia', 'nvapi-', 'base64url', 60, 80],
  ['perplexity', 'pplx-', 'alphanumeric', 40, 64],
  ['npm', 'npm_', 'alphanumeric', 36, 36],
  ['pypi', 'pypi-AgE', 'base64url', 50, 1024],
  ['rubygems', 'rubygems_', 'hex', 48, 48],
  ['docker', 'dckr_pat_', 'base64url', 27, 64],
  ['sendgrid', 'SG.', 'dotted', 60, 80, '.'],
  ['mailgun', 'key-', 'hex', 32, 32],
  ['twilio', 'SK', 'hex', 32, 32],
  ['shopify', 'shpat_', 'hex', 32, 32],
  ['shopify', 'shpss_', 'hex', 32, 32],
  ['square', 'sq0csp-', 'base64url', 40, 50],
  ['square', 'sq0atp-', 'base64url', 22, 30],
  ['digitalocean', 'dop_v1_', 'hex', 64, 64],
  ['digitalocean', 'doo_v1_', 'hex', 64, 64],
  ['databricks', 'dapi', 'hex', 32, 36],
  ['hashicorp_vault', 'hvs.', 'base64url', 24, 255],
  ['grafana', 'glsa_', 'base64url', 40, 64],
  ['atlassian', 'ATATT3', 'base64url', 150, 255],
  ['new_relic', 'NRAK-', 'alphanumeric', 27, 27],
  ['postman', 'PMAK-', 'base64url', 59, 59],
  ['linear', 'lin_api_', 'alphanumeric', 40, 48],
  ['notion', 'ntn_', 'alphanumeric', 43, 50],
  ['figma', 'figd_', 'base64url', 40, 64],
  ['supabase', 'sbp_', 'hex', 40, 40],
  ['tailscale', 'tskey-', 'base64url', 30, 100],
  ['age', 'AGE-SECRET-KEY-1', 'alphanumeric', 58, 58],
  ['azure_storage', 'AccountKey=', 'base64', 86, 90],
]

export const secretFormats: readonly SecretFormat[] = rows.map(
  ([rule, prefix, alphabet, minLength, maxLength, holds]) => ({
    ...{ rule, prefix, alphabet, minLength, maxLength },
    ...(holds === undefined ? {} : { holds }),
  }),
)

/** Names that a program or a person gives to a secret, in front of `=` or `:`; in lower case. */
export const secretNames: readonly string[] = [
  ...[
    'password',
    'passwd',
    'pwd',
    'passphrase',
    'secret',
    'token',
    'api_key',
    'apikey',
    'api-key',
    'access_key',
  ],
  ...[
    'accesskey',
    'access-key',
    'secret_key',
    'secretkey',
    'private_key',
    'auth_key',
    'client_secret',
    'credential',
    'bearer',
  ],
]

/** Schemes of addresses that carry a password in front of the host. */
export const passwordSchemes: ReadonlySet<string> = new Set([
  ...[
    'postgres',
    'postgresql',
    'mysql',
    'mariadb',
    'mongodb',
    'mongodb+srv',
    'redis',
    'rediss',
    'amqp',
    'amqps',
  ],
  ...[
    'mssql',
    'sqlserver',
    'oracle',
    'clickhouse',
    'cockroachdb',
    'ftp',
    'ftps',
    'sftp',
    'ssh',
    'ldap',
    'ldaps',
  ],
  ...[
    'smtp',
    'smtps',
    'imap',
    'imaps',
    'http',
    'https',
    'nats',
    'mqtt',
    'mqtts',
    'kafka',
    'jdbc',
    'git+https',
  ],
])
