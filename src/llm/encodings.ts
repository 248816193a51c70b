/** The encodings that a model of the policy can name: those that the tokenizer's package ships and that models use. */
export const encodingNames = ['o200k_base', 'cl100k_base'] as const

export type EncodingName = (typeof encodingNames)[number]
