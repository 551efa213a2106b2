// Results as one page of HTML that needs nothing else: tables, ratios with their aims, and plots drawn as SVG.
import { aimOf, isReached } from './text.mjs';

const COLOURS = ['#0b6e99', '#d9730d', '#0f7b6c', '#ad1a72', '#6940a5', '#64473a', '#787774'];
const [WIDTH, HEIGHT] = [640, 320];
const MARGIN = { left: 64, right: 16, top: 12, bottom: 40 };

export function pageOf({ startedAt, endedAt, conditions, scenarios }) {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Towpath: benchmarks of ${escape(startedAt)}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff; }
  h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1.5rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums; }
  th, td { padding: .25rem .75rem; border-bottom: 1px solid #e5e5e5; text-align: right; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; white-space: normal; }
  .reached { color: #0f7b6c; } .missed { color: #b3261e; font-weight: 600; }
  .plots { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; } figcaption { font-weight: 600; }
  .legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .85rem; }
  .legend i { display: inline-block; width: 1.2rem; height: .2rem; margin-right: .4rem; vertical-align: middle; }
  svg { max-width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #555; }
</style>
<h1>Towpath: benchmarks</h1>
<p>${escape(startedAt)} to ${escape(endedAt)}<br>${conditions.map(escape).join('<br>')}</p>
${scenarios.map(sectionOf).join('\n')}
</html>
`;
}

function sectionOf({ title, machine, tables, ratios, plots }) {
  return `<section>
<h2>${escape(title)}</h2>
<p>${escape(machine)}</p>
${tables
  .map(
    ({ title: caption, columns, rows }) =>
      `<h3>${escape(caption)}</h3>\n${tableOf(
        columns,
        rows.map((row) => row.map(escape)),
      )}`,
  )
  .join('\n')}
${ratios.length === 0 ? '' : `<h3>Ratios and aims</h3>\n${tableOf(['', '', 'aim', ''], ratios.map(ratioOf))}`}
<div class="plots">${plots.map(plotOf).join('\n')}</div>
</section>`;
}

function ratioOf(ratio) {
  const aim = aimOf(ratio);
  const mark = isReached(ratio) ? '<span class="reached">reached</span>' : '<span class="missed">not reached</span>';
  return [escape(ratio.what), ratio.ratio.toFixed(2), escape(aim), aim === '' ? '' : mark];
}

function tableOf(columns, rows) {
  const head = columns.map((column) => `<th>${escape(column)}</th>`).join('');
  const body = rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join('')}</tr>`).join('\n');
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** Lines; percentiles are spread out towards 100, where it gets interesting, and then the times are logarithmic. */
function plotOf({ title, x, y, series }) {
  const isPercentile = x === 'percentile';
  const across = isPercentile ? (percentile) => -Math.log10(1 - percentile / 100) : (value) => value;
  const up = isPercentile ? (value) => Math.log10(Math.max(value, 0.01)) : (value) => value;
  const points = series.flatMap((each) => each.points);
  const xs = points.map(([value]) => across(value));
  const ys = points.map(([, value]) => up(value));
  const [left, right] = [isPercentile ? 0 : Math.min(...xs), Math.max(...xs)];
  const [low, high] = [
    isPercentile ? Math.floor(Math.min(...ys)) : 0,
    isPercentile ? Math.ceil(Math.max(...ys)) : Math.max(...ys) * 1.05,
  ];
  const toX = (value) =>
    MARGIN.left + ((across(value) - left) / (right - left || 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const toY = (value) =>
    HEIGHT - MARGIN.bottom - ((up(value) - low) / (high - low || 1)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const xTicks = isPercentile ? [1, 50, 90, 99, 99.9].filter((tick) => across(tick) <= right) : ticksOf(left, right);
  const yTicks = isPercentile
    ? Array.from({ length: high - low + 1 }, (_, index) => 10 ** (low + index))
    : ticksOf(low, high);
  const grid = [
    ...yTicks.map(
      (tick) =>
        `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${toY(tick)}" y2="${toY(tick)}" stroke="#e5e5e5"/><text x="${MARGIN.left - 6}" y="${toY(tick) + 4}" text-anchor="end">${short(tick)}</text>`,
    ),
    ...xTicks.map(
      (tick) => `<text x="${toX(tick)}" y="${HEIGHT - MARGIN.bottom + 16}" text-anchor="middle">${short(tick)}</text>`,
    ),
  ];
  const lines = series.map(({ points: each }, index) => {
    const path = each.map(([a, b]) => `${toX(a).toFixed(1)},${toY(b).toFixed(1)}`).join(' ');
    return `<polyline fill="none" stroke="${COLOURS[index % COLOURS.length]}" stroke-width="2" points="${path}"/>`;
  });
  const legend = series.map(
    ({ name }, index) => `<span><i style="background:${COLOURS[index % COLOURS.length]}"></i>${escape(name)}</span>`,
  );
  return `<figure><figcaption>${escape(title)}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escape(title)}">${grid.join('')}${lines.join('')}
<text x="${WIDTH / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escape(x)}</text><text x="12" y="${HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 12 ${HEIGHT / 2})">${escape(y)}</text></svg>
<div class="legend">${legend.join('')}</div></figure>`;
}

/** About five round numbers. */
function ticksOf(low, high) {
  const step = 10 ** Math.floor(Math.log10((high - low || 1) / 4));
  const wide = [1, 2, 5, 10].map((factor) => factor * step).find((each) => (high - low) / each <= 6) ?? step;
  const ticks = [];
  for (let tick = Math.ceil(low / wide) * wide; tick <= high; tick += wide) ticks.push(tick);
  return ticks;
}

const short = (value) =>
  value >= 1000 ? `${Number((value / 1000).toPrecision(3))}k` : String(Number(value.toPrecision(3)));

function escape(value) {
  return String(value)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
