/** A page examines so many things at most, whatever it finds: a list of which one may see little costs many cheap pages. */
const MAX_EXAMINED = 1000;

interface List<Thing, Cursor> {
  /** What of it the caller may see; null: nothing. */
  readonly may: ((thing: Thing) => boolean) | null;
  readonly after: Cursor | null;
  readonly cursorOf: (thing: Thing) => Cursor;
  readonly limit: number;
  readonly read: (after: Cursor | null, count: number) => Promise<Thing[]>;
}

/** A page of what the caller may see of a list, and where the next one begins; null: nowhere. It may be short, or empty. */
export async function permittedPage<Thing, Cursor>(
  list: List<Thing, Cursor>,
): Promise<{ readonly items: Thing[]; readonly next: Cursor | null }> {
  const { may, cursorOf, limit, read } = list;
  const items: Thing[] = [];
  if (may === null) return { items, next: null };
  let after = list.after;
  for (let examined = 0; ;) {
    const found = await read(after, limit + 1);
    for (const thing of found.slice(0, limit)) {
      if (items.length === limit) return { items, next: after };
      after = cursorOf(thing);
      examined += 1;
      if (may(thing)) items.push(thing);
    }
    if (found.length <= limit) return { items, next: null };
    if (items.length === limit || examined >= MAX_EXAMINED) return { items, next: after };
  }
}
