/**
 * A plot with two logarithmic axes as SVG text: lines with markers, ticks at 1, 2 and 5, a legend. The same input gives the
 * same text. Colours follow the reader's light or dark scheme; lines differ in marker and dash too, for who sees none.
 */

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Shown by readers that show titles. */
  readonly title: string;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface Plot {
  readonly title: string;
  readonly subtitle: string;
  readonly xLabel: string;
  readonly yLabel: string;
  /** At most as many as there are looks. */
  readonly series: readonly Series[];
}

/** A plot that cannot be drawn; the message says why. */
export class PlotError extends Error {
  override readonly name = 'PlotError';
}

const WIDTH = 760;
const HEIGHT = 520;
/** The area of the lines. */
const LEFT = 76;
const RIGHT = WIDTH - 44;
const TOP = 116;
const BOTTOM = HEIGHT - 64;
const LEGEND_TOP = 72;
const LEGEND_ROW = 20;
const LEGEND_COLUMN = 340;
const MARKER_RADIUS = 4;

interface Look {
  readonly light: string;
  readonly dark: string;
  readonly dash: string;
  readonly marker: 'circle' | 'square' | 'triangle' | 'none';
}

/** One for each series, told apart also by those who see red and green alike (Okabe and Ito's colours). */
const LOOKS: readonly Look[] = [
  { light: '#0072b2', dark: '#56b4e9', dash: '', marker: 'circle' },
  { light: '#b8460b', dark: '#f0a35e', dash: '', marker: 'square' },
  { light: '#00795a', dark: '#4fd1a5', dash: '', marker: 'triangle' },
  { light: '#57606a', dark: '#9aa4af', dash: '6 4', marker: 'none' },
];

/** The plot as an SVG document. Throws PlotError. */
export function svgPlot(plot: Plot): string {
  if (plot.series.length > LOOKS.length) throw new PlotError(`a plot has at most ${LOOKS.length} series`);
  const points = plot.series.flatMap((series) => series.points);
  if (points.length === 0) throw new PlotError('there is nothing to plot');
  const bad = points.find(({ x, y }) => !(x > 0 && y > 0 && Number.isFinite(x) && Number.isFinite(y)));
  if (bad !== undefined) throw new PlotError(`(${bad.x}, ${bad.y}) has no place on logarithmic axes`);
  const xTicks = ticksAround(points.map(({ x }) => x));
  const yTicks = ticksAround(points.map(({ y }) => y));
  const xAt = scale(xTicks, LEFT, RIGHT);
  const yAt = scale(yTicks, BOTTOM, TOP);
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-labelledby="title" font-family="system-ui, sans-serif" font-size="13">`,
    `<title id="title">${escaped(plot.title)}</title>`,
    styles(),
    `<rect class="paper" width="${WIDTH}" height="${HEIGHT}" rx="6"/>`,
    text(24, 30, plot.title, 'class="ink" font-size="16" font-weight="600"'),
    text(24, 50, plot.subtitle, 'class="faint"'),
    ...plot.series.map((series, i) => legendEntry(series, i)),
    ...xTicks.map((tick) => gridLine(xAt(tick), TOP, xAt(tick), BOTTOM)),
    ...yTicks.map((tick) => gridLine(LEFT, yAt(tick), RIGHT, yAt(tick))),
    ...xTicks.map((tick) => text(xAt(tick), BOTTOM + 20, tickText(tick), 'class="faint" text-anchor="middle"')),
    ...yTicks.map((tick) => text(LEFT - 8, yAt(tick) + 4, tickText(tick), 'class="faint" text-anchor="end"')),
    text((LEFT + RIGHT) / 2, HEIGHT - 18, plot.xLabel, 'class="ink" text-anchor="middle"'),
    text(
      22,
      (TOP + BOTTOM) / 2,
      plot.yLabel,
      `class="ink" text-anchor="middle" transform="rotate(-90 22 ${place((TOP + BOTTOM) / 2)})"`,
    ),
    ...plot.series.flatMap((series, i) => seriesLines(series, i, xAt, yAt)),
    '</svg>',
  ];
  return `${lines.join('\n')}\n`;
}

/** 1, 2 and 5 times the powers of ten, from the last that is not above all values to the first not below any. */
function ticksAround(values: readonly number[]): number[] {
  const least = Math.min(...values);
  const most = Math.max(...values);
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power++) {
    for (const digit of [1, 2, 5]) all.push(Number(`${digit}e${power}`));
  }
  const first = all.findLastIndex((tick) => tick <= least);
  const last = all.findIndex((tick) => tick >= most);
  // Where all values are one and the same tick, the axis still needs a length.
  return all.slice(first, Math.max(last, first + 1) + 1);
}

function scale(ticks: readonly number[], from: number, to: number): (value: number) => number {
  const low = Math.log10(ticks[0] as number);
  const high = Math.log10(ticks.at(-1) as number);
  return (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
}

function tickText(tick: number): string {
  return tick.toLocaleString('en-US', { maximumFractionDigits: 6 });
}

/** A coordinate, a tenth of a pixel exact. */
function place(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escaped(words: string): string {
  return words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function text(x: number, y: number, words: string, attributes: string): string {
  return `<text x="${place(x)}" y="${place(y)}" ${attributes}>${escaped(words)}</text>`;
}

function gridLine(x1: number, y1: number, x2: number, y2: number): string {
  return `<line class="grid" x1="${place(x1)}" y1="${place(y1)}" x2="${place(x2)}" y2="${place(y2)}"/>`;
}

function styles(): string {
  const scheme = (of: 'light' | 'dark', paper: string, ink: string, faint: string, grid: string): string => {
    const series = LOOKS.map((look, i) => `.s${i}{stroke:${look[of]}}.m${i}{fill:${look[of]}}`).join('');
    return `.paper{fill:${paper}}.ink{fill:${ink}}.faint{fill:${faint}}.grid{stroke:${grid}}${series}`;
  };
  const light = scheme('light', '#ffffff', '#1f2328', '#57606a', '#d8dee4');
  const dark = scheme('dark', '#0d1117', '#e6edf3', '#9aa4af', '#30363d');
  return `<style>${light}@media (prefers-color-scheme:dark){${dark}}</style>`;
}

function line(index: number, path: string): string {
  const { dash } = LOOKS[index] as Look;
  const dashes = dash === '' ? '' : ` stroke-dasharray="${dash}"`;
  return `<polyline class="s${index}" fill="none" stroke-width="2"${dashes} points="${path}"/>`;
}

function marker(index: number, x: number, y: number, title?: string): string {
  const inside = title === undefined ? '' : `<title>${escaped(title)}</title>`;
  const look = `class="m${index}"`;
  const r = MARKER_RADIUS;
  switch ((LOOKS[index] as Look).marker) {
    case 'circle':
      return `<circle ${look} cx="${place(x)}" cy="${place(y)}" r="${r}">${inside}</circle>`;
    case 'square':
      return `<rect ${look} x="${place(x - r)}" y="${place(y - r)}" width="${2 * r}" height="${2 * r}">${inside}</rect>`;
    case 'triangle': {
      const corners = `${place(x)},${place(y - r - 1)} ${place(x + r + 1)},${place(y + r)} ${place(x - r - 1)},${place(y + r)}`;
      return `<polygon ${look} points="${corners}">${inside}</polygon>`;
    }
    case 'none':
      return '';
  }
}

function seriesLines(
  { points }: Series,
  index: number,
  xAt: (value: number) => number,
  yAt: (value: number) => number,
): string[] {
  const sorted = [...points].sort((a, b) => a.x - b.x);
  const path = sorted.map(({ x, y }) => `${place(xAt(x))},${place(yAt(y))}`).join(' ');
  const markers = sorted.map(({ x, y, title }) => marker(index, xAt(x), yAt(y), title)).filter((part) => part !== '');
  return [line(index, path), ...markers];
}

function legendEntry({ name }: Series, index: number): string {
  const x = 24 + (index % 2) * LEGEND_COLUMN;
  const y = LEGEND_TOP + Math.floor(index / 2) * LEGEND_ROW;
  const path = `${x},${y} ${x + 30},${y}`;
  return `${line(index, path)}${marker(index, x + 15, y)}${text(x + 40, y + 4, name, 'class="ink"')}`;
}
