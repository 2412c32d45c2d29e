/** Stops the synthesis with one line: the prop, its value, why it can't be used, and what to do. */
export function refuse(prop: string, value: unknown, why: string, instead: string): never {
  throw new Error(`TuflineRepository: ${prop} is ${value}: ${why}; ${instead}`);
}
