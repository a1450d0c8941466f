/** A data folder that cannot be used as it is. The message names it and says what to do; nothing in it was changed. */

export class StoreError extends Error {
  override readonly name: string = 'StoreError';
}

/** The disk took nothing more, most often because it is full. Nothing of the write was kept; it may be tried again. */
export class DiskError extends StoreError {
  override readonly name = 'DiskError';
}
