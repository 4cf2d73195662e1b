// Who is on screen when: a lane per person, the time under the pointer, zoom.

import { h, small, text } from "./dom.js";
import { face } from "./people.js";
import { called, lasting, moment } from "./words.js";

const FIRST = 25; // lanes, until all are asked for
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/** found: what /people gives. */
export function timeline(found) {
  const duration = Math.max(found.duration ?? 0, ...found.people.map((p) => p.last ?? 0), 0.1);
  const changes = [...new Set([0, ...found.people.flatMap((p) => p.spans.flat()), duration])].sort((a, b) => a - b);
  let zoom = 1;
  let at = 0;
  const names = new Map();

  const ruler = h("div", { class: "ruler" });
  const lanes = h("div", { class: "lanes" });
  const cursor = h("i", { class: "cursor", hidden: true });
  const canvas = h("div", { class: "canvas" }, ruler, lanes, cursor);
  const scroll = h("div", {
    class: "scroll", tabindex: 0, role: "slider", "aria-label": "Time in the video",
    "aria-describedby": "timeline-keys", "aria-valuemin": 0, "aria-valuemax": duration.toFixed(3), "aria-valuenow": 0,
  }, canvas);
  const heads = h("div", { class: "heads" });
  const tip = h("div", { class: "tip", hidden: true }, h("b"), h("span"));
  const buttons = [["−", "Zoom out", 1 / 1.5], ["+", "Zoom in", 1.5]].map(([sign, name, by]) =>
    small(null, sign, name, () => scale(zoom * by)));
  const all = small(null, "All", "Zoom out to all", () => scale(1));
  const rest = h("button", { class: "quiet", type: "button", onclick: () => draw(found.people.length) });
  const element = h("section", { class: "card timeline", "aria-labelledby": "timeline" },
    h("div", { class: "bar" }, h("h2", { id: "timeline" }, "Timeline"),
      h("p", { class: "soft" }, `${moment(duration, 0)} of video`),
      h("div", { class: "field", role: "group", "aria-label": "Zoom" }, buttons, all)),
    found.people.length ? h("div", { class: "board" }, heads, scroll) : h("p", {}, "Nobody was found in this video."),
    rest, tip,
    h("p", { id: "timeline-keys", class: "soft" },
      "Point at the timeline, or use the arrow keys; Page Up and Page Down go to where somebody comes or goes, ",
      "+ and − zoom."));

  function lane(person) {
    const name = h("bdi");
    const spans = person.spans.map(([start, end]) => {
      const span = h("i", { "data-start": start, "data-end": end });
      span.style.left = `${(100 * start) / duration}%`;
      span.style.width = `${(100 * (end - start)) / duration}%`;
      return span;
    });
    names.set(person.id, { person, name });
    text(name, called(person));
    const seconds = h("span", { class: "soft" }, lasting(person.seconds));
    return [
      h("div", { class: `head p${person.id % 12}`, "data-person": person.id }, face(person), name, seconds),
      h("div", { class: `lane p${person.id % 12}`, "data-person": person.id }, spans),
    ];
  }

  function draw(number) {
    const rows = found.people.slice(0, number).map(lane);
    heads.replaceChildren(...rows.map(([head]) => head));
    lanes.replaceChildren(...rows.map(([, l]) => l));
    rest.hidden = number >= found.people.length;
    text(rest, `Show all ${found.people.length} people`);
  }

  function ticks() {
    const wide = canvas.clientWidth || 600;
    const step = STEPS.find((s) => (s / duration) * wide >= 74) ?? STEPS.at(-1);
    const times = Array.from({ length: Math.floor(duration / step) + 1 }, (_, i) => i * step);
    ruler.replaceChildren(...times.filter((t) => t < duration * (1 - 34 / wide)).map((t) => {
      const tick = h("span", {}, moment(t, step < 1 ? 1 : 0));
      tick.style.left = `${(100 * t) / duration}%`;
      return tick;
    }));
  }

  function scale(wanted) {
    const most = Math.max(1, Math.min(200, duration / 0.5));
    const middle = (scroll.scrollLeft + scroll.clientWidth / 2) / (canvas.clientWidth || 1);
    zoom = Math.min(most, Math.max(1, wanted));
    canvas.style.width = `${100 * zoom}%`;
    scroll.scrollLeft = middle * canvas.clientWidth - scroll.clientWidth / 2;
    buttons[0].disabled = all.disabled = zoom === 1;
    buttons[1].disabled = zoom === most;
    ticks();
  }

  const there = (time) => found.people.filter((p) => p.spans.some(([start, end]) => start <= time && time < end));

  /** The cursor at a time; what is said of it, and the stretch that is pointed at. */
  function point(time, event = null) {
    at = Math.min(duration, Math.max(0, time));
    cursor.hidden = tip.hidden = false;
    cursor.style.left = `${(100 * at) / duration}%`;
    const span = event?.target.closest?.(".lane i");
    const here = there(at).map(called).join(", ") || "nobody";
    scroll.setAttribute("aria-valuenow", at.toFixed(3));
    scroll.setAttribute("aria-valuetext", `${moment(at)}, ${here}`);
    text(tip.firstChild, moment(at));
    if (span) {
      const { person } = names.get(Number(span.parentNode.dataset.person));
      const [start, end] = [Number(span.dataset.start), Number(span.dataset.end)];
      text(tip.lastChild, `${called(person)}: ${moment(start)} – ${moment(end)} (${lasting(end - start)})`);
    } else text(tip.lastChild, here);
    const box = scroll.getBoundingClientRect();
    const x = event ? event.clientX : box.left + (at / duration) * canvas.clientWidth - scroll.scrollLeft;
    const y = event ? event.clientY : box.top + 30;
    tip.style.left = `${Math.max(8, Math.min(document.documentElement.clientWidth - tip.offsetWidth - 8, x + 14))}px`;
    tip.style.top = `${y + 22 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 12 : y + 18}px`;
  }

  const hide = () => (cursor.hidden = tip.hidden = true);

  function seen() {
    const x = (at / duration) * canvas.clientWidth;
    if (x < scroll.scrollLeft + 20) scroll.scrollLeft = x - 40;
    else if (x > scroll.scrollLeft + scroll.clientWidth - 20) scroll.scrollLeft = x - scroll.clientWidth + 40;
  }

  for (const kind of ["pointermove", "pointerdown"]) {
    scroll.addEventListener(kind, (e) => {
      const box = canvas.getBoundingClientRect();
      point(((e.clientX - box.left) / box.width) * duration, e);
    });
  }
  scroll.addEventListener("pointerleave", (e) => e.pointerType === "mouse" && hide());
  scroll.addEventListener("blur", hide);
  scroll.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const step = (e.shiftKey ? 0.1 : 1) * (duration / zoom / 50);
    const moves = {
      ArrowLeft: () => at - step, ArrowRight: () => at + step, Home: () => 0, End: () => duration,
      PageUp: () => changes.findLast((t) => t < at - 1e-6) ?? 0,
      PageDown: () => changes.find((t) => t > at + 1e-6) ?? duration,
    };
    if (moves[e.key]) point(moves[e.key]());
    else if (e.key === "+" || e.key === "=") scale(zoom * 1.5);
    else if (e.key === "-") scale(zoom / 1.5);
    else if (e.key === "0") scale(1);
    else if (e.key === "Escape") return hide();
    else return;
    e.preventDefault();
    seen();
    if (!moves[e.key]) point(at);
  });
  new ResizeObserver(ticks).observe(scroll);
  draw(FIRST);
  scale(1);

  return {
    element,
    update(person) {
      const known = names.get(person.id);
      const mine = found.people.find((p) => p.id === person.id);
      Object.assign(mine, person);
      if (known) text(known.name, called(mine));
    },
  };
}
