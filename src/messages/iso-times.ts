/**
 * Writes the times of one answer as ISO 8601, each different one once: messages that were put or claimed together have theirs in common, and to
 * write a time costs as much as the rest of a message's JSON.
 */
export function isoTimes(): (time: Date) => string {
  const written = new Map<number, string>();
  return (time) => {
    const milliseconds = time.getTime();
    let text = written.get(milliseconds);
    if (text === undefined) {
      text = time.toISOString();
      written.set(milliseconds, text);
    }
    return text;
  };
}
