// How busy the machine is: charts of the last minutes, one cursor over all of them.

import { again, ask } from "./api.js";
import { Chart } from "./charts.js";
import { h, sync, text } from "./dom.js";
import { bytes, clock, count, lasting, many, speed } from "./words.js";

const WINDOWS = [[300, "5 min"], [900, "15 min"], [3600, "1 h"]];
const WINDOW = "fastface.window";

const percent = (v) => `${Math.round(v)}%`;
const whole = (v) => count(Math.round(v));
const hundred = () => 100;
const sum = (values) => values.reduce((a, b) => a + b, 0);

export function machine(signal) {
  let samples = [];
  let interval = 2;
  let charts = [];
  let shape = "";
  let at = null;
  let seconds = Number(sessionStorage.getItem(WINDOW)) || 900;

  const when = h("p", { class: "soft when" });
  const grid = h("div", { class: "charts" });
  const empty = h("p", { class: "soft" }, "Nothing was seen yet.");
  const slider = h("input", {
    type: "range", class: "scrub", min: 0, max: 1000, value: 1000, "aria-label": "Moment that the charts show",
    oninput: () => point(slider.value === "1000" ? null : bounds()[0] + (seconds * slider.value) / 1000),
  });
  const choice = h("fieldset", { class: "choice" }, h("legend", { class: "hidden" }, "Time shown"),
    WINDOWS.map(([value, name]) => h("label", {},
      h("input", {
        type: "radio", name: "window", value, checked: value === seconds,
        onchange: () => {
          seconds = value;
          sessionStorage.setItem(WINDOW, value);
          draw();
        },
      }), h("span", {}, name))));
  const element = h("section", { class: "machine", "aria-labelledby": "machine" },
    h("div", { class: "bar" }, h("h2", { id: "machine" }, "Machine"), when, choice), empty, grid, slider);

  const bounds = () => {
    const to = samples.at(-1)?.at ?? 0;
    return [to - seconds, to];
  };

  function point(moment) {
    at = moment;
    for (const chart of charts) chart.point(at);
    told();
  }

  function told() {
    const last = samples.at(-1);
    if (!last) return;
    const shown = at == null ? null : `at ${clock(at)}, ${lasting(Math.max(0, last.at - at))} ago`;
    const workers = last.workers === null ? "" : `${many(last.workers, "worker")}, `;
    const gpus = last.gpus.length ? [...new Set(last.gpus.map((g) => g.name))].join(", ") : "no GPU watched";
    text(when, shown ?? `${workers}${last.gpus.length > 1 ? `${last.gpus.length} × ` : ""}${gpus}`);
    const figures = charts.map((c) => `${c.title} ${c.value.textContent}`).join(", ");
    slider.setAttribute("aria-valuetext", `${shown ?? "now"}: ${figures}`);
  }

  /** Which charts there are follows from which GPUs there are. */
  function made(last) {
    const names = last.gpus.map((g) => String(g.index));
    const wanted = names.join();
    if (wanted === shape && charts.length) return;
    shape = wanted;
    const series = names.length > 1 ? names.map((n) => `GPU ${n}`) : [""];
    const each = (values) => (s) => names.map((n) => values(s.gpus.find((g) => String(g.index) === n)) ?? null);
    const chart = (id, title, values, more) => Object.assign(new Chart({ id, title, ...more }), { values });
    const total = (get) => () => Math.max(...samples.at(-1).gpus.map(get));
    charts = [
      ...(names.length ? [
        chart("gpu", "GPU", each((g) => g?.gpu), { series, show: percent, top: hundred }),
        chart("nvdec", "NVDEC", each((g) => g?.nvdec), { series, show: percent, top: hundred }),
        chart("gpu-memory", "GPU memory", each((g) => g?.memory),
          { series, show: bytes, top: total((g) => g.memory_total) }),
      ] : []),
      chart("cpu", "CPU", (s) => [s.cpu], { show: percent, top: hundred }),
      chart("memory", "Memory", (s) => [s.memory], { show: bytes, top: () => samples.at(-1).memory_total }),
      chart("fps", "Frames a second", (s) => [s.fps], { show: speed }),
      chart("queue", "Jobs", (s) => [s.jobs.running, s.jobs.queued], { series: ["running", "waiting"], show: whole }),
      chart("done", "Jobs done", (s) => [s.done], { show: whole }),
    ];
    for (const c of charts) if (["gpu-memory", "queue"].includes(c.element.dataset.chart)) c.together = sum;
    grid.dataset.count = charts.length;
    sync(grid, charts, (c) => `${c.element.dataset.chart} ${shape}`, (c) => c.element, () => {});
  }

  function draw() {
    const last = samples.at(-1);
    empty.hidden = Boolean(last);
    slider.hidden = choice.hidden = !last;
    if (!last) return;
    made(last);
    const [from, to] = bounds();
    for (const c of charts) {
      const id = c.element.dataset.chart;
      if (id === "memory") c.note = `of ${bytes(last.memory_total)}`;
      if (id === "gpu-memory") c.note = `of ${bytes(sum(last.gpus.map((g) => g.memory_total)))}`;
      if (id === "done") c.note = "since the start";
      c.update(samples.map((s) => ({ at: s.at, values: c.values(s) })), from, to, 3 * interval);
    }
    told();
  }

  const follow = (e) => {
    const box = e.target.closest(".chart")?.querySelector(".plot").getBoundingClientRect();
    if (!box || !samples.length) return;
    const share = Math.min(1, Math.max(0, (e.clientX - box.left) / box.width));
    const [from] = bounds();
    point(from + share * seconds);
  };
  grid.addEventListener("pointermove", follow);
  grid.addEventListener("pointerdown", follow); // of a finger, which does not move
  grid.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && point(null));
  document.addEventListener("pointerdown", (e) => !grid.contains(e.target) && point(null), { signal });
  slider.addEventListener("blur", () => {
    slider.value = 1000;
    point(null);
  });

  again(() => interval, async () => {
    const since = samples.at(-1)?.at ?? 0;
    const answer = await ask("GET", `/v1/system?since=${since}`, undefined, { signal });
    interval = Math.max(1, answer.interval);
    const hour = answer.now - 3600;
    const kept = samples.filter((s) => s.at > hour && s.at < (answer.samples[0]?.at ?? 0));
    if (answer.samples.length) samples = [...kept, ...answer.samples];
    else if (since > answer.now) samples = []; // another clock: begin anew
    draw();
  }, signal);
  draw();
  return element;
}
