/** A data folder that cannot be used as it is. The message names it and says what to do; nothing in it was changed. */

export class StoreError extends Error {
  override readonly name = 'StoreError';
}
