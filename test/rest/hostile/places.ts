import { resolve, type Document, type Schema } from '../../openapi/document.js';

/** Keys and indices down to a field of a body. */
export type Path = readonly (string | number)[];

interface Place {
  readonly path: Path;
  readonly schema: Schema;
}

/** Every field of a body, at every depth. */
export function placesOf(document: Document, schema: Schema, path: Path = []): Place[] {
  const found = resolve(document, schema);
  const places: Place[] = path.length === 0 ? [] : [{ path, schema: found }];
  for (const [name, property] of Object.entries(found.properties ?? {})) {
    places.push(...placesOf(document, property, [...path, name]));
  }
  if (found.items !== undefined) places.push(...placesOf(document, found.items, [...path, 0]));
  if (typeof found.additionalProperties === 'object') {
    places.push(...placesOf(document, found.additionalProperties, [...path, 'key']));
  }
  return places;
}

/** The body with another value in one field, which need not be there yet. */
export function withField(body: unknown, path: Path, value: unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return value;
  if (typeof key === 'number') {
    const list = Array.isArray(body) ? [...(body as unknown[])] : [];
    list[key] = withField(list[key], rest, value);
    return list;
  }
  const object = typeof body === 'object' && body !== null && !Array.isArray(body) ? body : {};
  return { ...object, [key]: withField((object as Record<string, unknown>)[key], rest, value) };
}
