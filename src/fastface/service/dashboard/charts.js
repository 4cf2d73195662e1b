// Lines over time, as SVG.

import { h, set, svg, text } from "./dom.js";
import { lasting } from "./words.js";

const [WIDTH, HEIGHT, POINTS] = [300, 64, 240];

/** One figure, or a few of one kind, over time.
 *
 * title: what it is. show(value): how it is written. series: names of the lines; one without a name.
 * top(): what the upper edge stands for; without, it is found from the values. */
export class Chart {
  constructor({ id, title, series = [""], show, top = null }) {
    Object.assign(this, { show, top, series, data: [], note: "" });
    this.value = h("span", { class: "figure" }, "–");
    this.more = h("span", { class: "soft" });
    this.paths = series.map((_, i) => [
      svg("path", { class: `area s${i % 8}` }),
      svg("path", { class: `trace s${i % 8}`, "vector-effect": "non-scaling-stroke" }),
    ]);
    // A line per GPU has no area: they would hide each other.
    const parts = series.length > 2 ? this.paths.map(([, line]) => line) : this.paths.flat();
    this.picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, parts);
    this.cursor = h("i", { class: "cursor", hidden: true });
    this.scale = h("span", { class: "scale" });
    this.keys = series.map((name, i) => name && h("li", {}, h("i", { class: `key s${i % 8}` }), h("span", {}, name)));
    this.plot = h("div", { class: "plot" }, this.picture, this.cursor, this.scale);
    this.begin = h("span");
    this.title = title;
    this.element = h("section", { class: "chart", "data-chart": id },
      h("div", { class: "what" }, h("h3", {}, title),
        this.keys.some(Boolean) && h("ul", { class: "legend" }, this.keys)),
      h("p", { class: "now" }, this.value, " ", this.more),
      this.plot,
      h("p", { class: "ends", "aria-hidden": "true" }, this.begin, h("span", {}, "now")));
  }

  /** points: [{ at, values }] ascending, null where there is none; shown is [from, to]. */
  update(points, from, to, gap) {
    this.shown = [from, to];
    this.data = points;
    const shown = thinned(points.filter((p) => p.at >= from && p.at <= to), from, to);
    const values = shown.flatMap((p) => p.values).filter((v) => v !== null);
    const top = this.top?.() ?? round(Math.max(0, ...values));
    text(this.scale, values.length && !this.top ? this.show(top) : "");
    text(this.begin, `−${lasting(to - from)}`);
    const x = (at) => ((at - from) / (to - from)) * WIDTH;
    const y = (v) => HEIGHT - 1.5 - (Math.min(v, top) / (top || 1)) * (HEIGHT - 4);
    const widest = Math.max(gap, (2.5 * (to - from)) / POINTS);
    this.paths.forEach(([area, line], i) => {
      const [under, over] = drawn(shown, i, x, y, widest);
      area.setAttribute("d", under);
      line.setAttribute("d", over);
    });
    this.readings();
    const now = this.reading(points.length - 1);
    const range = values.length ? `, from ${this.show(Math.min(...values))} to ${this.show(Math.max(...values))}` : "";
    const told = now ? `${now}${range} in the time shown` : "nothing yet";
    set(this.picture, { "aria-label": `${this.title}: ${told}` });
  }

  /** What is read at a time; null: the newest. */
  point(at) {
    this.at = at;
    this.readings();
  }

  readings() {
    const index = this.at == null ? this.data.length - 1 : nearest(this.data, this.at);
    text(this.value, this.reading(index) ?? "–");
    text(this.more, this.at == null ? this.note : "");
    this.keys.forEach((key, i) => {
      const value = this.data[index]?.values[i];
      if (key) text(key.lastChild, `${this.series[i]} ${value == null ? "–" : this.show(value)}`);
    });
    this.cursor.hidden = this.at == null || index < 0;
    if (this.cursor.hidden || !this.shown) return;
    const [from, to] = this.shown;
    this.cursor.style.left = `${(100 * (this.data[index].at - from)) / (to - from)}%`;
  }

  /** In words: of several lines the mean, of a queue the sum. */
  reading(index) {
    const values = (this.data[index]?.values ?? []).filter((v) => v !== null);
    if (!values.length) return null;
    return this.show(this.together ? this.together(values) : values.reduce((a, b) => a + b) / values.length);
  }
}

export function nearest(points, at) {
  let best = points.length - 1;
  for (let i = 0; i < points.length; i += 1) {
    if (points[i].at < at) continue;
    best = i && at - points[i - 1].at < points[i].at - at ? i - 1 : i;
    break;
  }
  return best;
}

/** As many points as can be seen, each the mean of those that it stands for. */
function thinned(points, from, to) {
  if (points.length <= POINTS) return points;
  const width = (to - from) / POINTS;
  const out = [];
  for (const point of points) {
    const slot = Math.floor(point.at / width); // of the clock, so that they do not dance as time goes on
    const last = out.at(-1);
    if (last?.slot === slot) last.of.push(point);
    else out.push({ slot, of: [point] });
  }
  return out.map(({ of }) => ({
    at: of.reduce((sum, p) => sum + p.at, 0) / of.length,
    values: of[0].values.map((_, i) => {
      const known = of.map((p) => p.values[i]).filter((v) => v != null);
      return known.length ? known.reduce((a, b) => a + b) / known.length : null;
    }),
  }));
}

/** The area and the line of one series; both are broken where nothing was seen. */
function drawn(points, i, x, y, gap) {
  let [area, line, run] = ["", "", []];
  const end = () => {
    if (!run.length) return;
    const path = run.map(([px, py]) => `${px.toFixed(1)} ${py.toFixed(1)}`).join("L");
    line += `M${path}${run.length === 1 ? "h.01" : ""}`;
    area += `M${run[0][0].toFixed(1)} ${HEIGHT}L${path}L${run.at(-1)[0].toFixed(1)} ${HEIGHT}Z`;
    run = [];
  };
  let before = -Infinity;
  for (const { at, values } of points) {
    const value = values[i] ?? null;
    if (value === null || at - before > gap) end();
    if (value !== null) run.push([x(at), y(value)]);
    before = at;
  }
  end();
  return [area, line];
}

/** 1, 2 or 5 times a power of ten, at least as large. */
function round(value) {
  if (value <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 2, 5, 10].find((n) => n * unit >= value);
}
