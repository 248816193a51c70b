import { expect } from 'vitest'

const message = expect.any(String) as string

/** The paths of both dialects, and the body that an error of Envoy's own has there. */
export const dialects = [
  {
    name: 'OpenAI',
    path: '/v1/chat/completions',
    error: (code: string, type: string) => ({ error: { code, type, message } }),
    types: {
      413: 'invalid_request_error',
      408: 'invalid_request_error',
      500: 'server_error',
      503: 'server_error',
      504: 'server_error',
    },
  },
  {
    name: 'Anthropic',
    path: '/v1/messages',
    error: (code: string, type: string) => ({ type: 'error', error: { code, type, message } }),
    types: {
      413: 'request_too_large',
      408: 'invalid_request_error',
      500: 'api_error',
      503: 'api_error',
      504: 'timeout_error',
    },
  },
] as const
