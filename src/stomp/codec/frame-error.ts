/**
 * What was read is no frame (InvalidFrame), or goes beyond a limit (TooLarge). The message is for the client: it says
 * what is wrong and what to do. Nothing that follows in the stream can be trusted, so the connection ends.
 */
export class FrameError extends Error {
  override readonly name = 'FrameError';

  constructor(
    readonly code: 'InvalidFrame' | 'TooLarge',
    message: string,
    /** The value of the frame's header `receipt`, where that had been read already: an ERROR frame names it. */
    readonly receipt: string | null = null,
  ) {
    super(message);
  }
}
