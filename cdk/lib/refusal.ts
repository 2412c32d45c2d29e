/** Stops the synthesis with one line that says which prop, its value, why it can't be, and what to do. */
export function refuse(prop: string, value: unknown, why: string, instead: string): never {
  throw new Error(`TuflineRepository: ${prop} is ${value}: ${why}; ${instead}`);
}
