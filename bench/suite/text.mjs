// Results as text.

/** A ratio with an aim: at least `aim`, or at most `most`. One with neither is for information. */
export function isReached({ ratio, aim, most }) {
  return (aim === undefined || ratio >= aim) && (most === undefined || ratio <= most);
}

export function aimOf({ aim, most }) {
  if (aim !== undefined) return `at least ${aim}`;
  return most === undefined ? '' : `at most ${most}`;
}

/** What a scenario found: its tables and its ratios. */
export function textOf({ title, machine, tables, ratios }) {
  const told = ratios.map((each) => [
    each.what,
    each.ratio.toFixed(2),
    aimOf(each),
    aimOf(each) === '' ? '' : isReached(each) ? 'reached' : 'NOT reached',
  ]);
  return [
    `\n${title}`,
    `(${machine})`,
    ...tables.flatMap((table) => [`\n  ${table.title}`, ...linesOf([table.columns, ...table.rows])]),
    '',
    ...linesOf(told),
  ].join('\n');
}

/** The first column to the left, all others to the right. */
function linesOf(rows) {
  const widths = [];
  for (const row of rows)
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  return rows.map(
    (row) =>
      `    ${row.map((cell, index) => (index === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[index]))).join('   ')}`,
  );
}
