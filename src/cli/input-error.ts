/** What was given to be judged cannot be read: printed as it is, without a stack and without the help; exit code 2. */
export class InputError extends Error {
  override readonly name = 'InputError';
}
