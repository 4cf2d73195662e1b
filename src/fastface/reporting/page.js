"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const [scroll, canvas, ruler, cursor, preview] = ["scroll", "canvas", "ruler", "cursor", "preview"].map(byId);
  const duration = data.duration;
  const times = data.frames.times;
  const most = Math.max(1, Math.min(duration / 0.5, 4000));
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
  const changes = [...new Set(data.people.flatMap((p) => p.spans.flat()))].sort((a, b) => a - b);
  let zoom = 1;
  let now = 0;

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const clock = (seconds, digits) => {
    const whole = Math.round(seconds * 10 ** digits) / 10 ** digits;
    const h = Math.floor(whole / 3600);
    const m = Math.floor(whole / 60) % 60;
    const s = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
    return (h ? h + ":" + String(m).padStart(2, "0") : m) + ":" + s;
  };
  const visible = () => duration / zoom;
  const timeAt = (x) => clamp(((x - canvas.getBoundingClientRect().left) / canvas.clientWidth) * duration, 0, duration);
  const xOf = (time) => canvas.getBoundingClientRect().left + (time / duration) * canvas.clientWidth;

  // The first index at which values exceed a value.
  const after = (values, value) => {
    let low = 0;
    let high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] <= value) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  const drawRuler = () => {
    const fitting = Math.max(scroll.clientWidth / 90, 1);
    const step = steps.find((s) => visible() / s <= fitting) || Math.ceil(visible() / fitting / 86400) * 86400;
    const first = Math.floor((scroll.scrollLeft / canvas.clientWidth) * duration / step);
    const labels = [];
    for (let i = Math.max(first, 0); i <= first + fitting + 2 && i * step <= duration; i++) {
      const label = document.createElement("span");
      label.style.left = (100 * i * step) / duration + "%";
      // No half of a number at the end.
      if ((1 - (i * step) / duration) * canvas.clientWidth > 48) label.textContent = clock(i * step, step < 1 ? 1 : 0);
      labels.push(label);
    }
    ruler.replaceChildren(...labels);
  };

  const setZoom = (value, time) => {
    const anchor = time === undefined ? timeAt(scroll.getBoundingClientRect().left + scroll.clientWidth / 2) : time;
    const x = xOf(anchor) - scroll.getBoundingClientRect().left;
    zoom = clamp(value, 1, most);
    canvas.style.width = zoom * 100 + "%";
    scroll.scrollLeft = (anchor / duration) * canvas.clientWidth - clamp(x, 0, scroll.clientWidth);
    byId("zoom").textContent = (zoom < 10 ? Math.round(zoom * 10) / 10 : Math.round(zoom)) + "×";
    byId("out").disabled = zoom <= 1;
    byId("in").disabled = zoom >= most;
    drawRuler();
  };

  const frameAt = (time) => {
    const next = after(times, time);
    return next && (next === times.length || time - times[next - 1] <= times[next] - time) ? next - 1 : next;
  };

  const show = (time) => {
    now = clamp(time, 0, duration);
    const there = data.people.filter((p) => {
      return p.spans.some(([start, end]) => start <= now && now < end);
    });
    const names = there.map((p) => p.label).join(", ") || "nobody";
    cursor.hidden = preview.hidden = false;
    cursor.style.left = (100 * now) / duration + "%";
    byId("when").textContent = clock(now, 1);
    byId("who").textContent = names;
    scroll.setAttribute("aria-valuenow", now.toFixed(3));
    scroll.setAttribute("aria-valuetext", clock(now, 1) + ", " + names);
    const frame = byId("frame");
    frame.hidden = !times.length;
    if (times.length) {
      const i = frameAt(now);
      frame.width = data.frames.width;
      frame.height = data.frames.height;
      frame.src = "data:image/jpeg;base64," + data.frames.pictures[i];
      frame.dataset.time = times[i];
    }
    const box = scroll.getBoundingClientRect();
    const width = preview.offsetWidth;
    preview.style.left = clamp(xOf(now) - width / 2, 4, document.documentElement.clientWidth - width - 4) + "px";
    const above = box.top - preview.offsetHeight - 8;
    preview.style.top = (above >= 4 ? above : Math.min(box.bottom + 8, innerHeight - preview.offsetHeight - 4)) + "px";
  };
  const hide = () => {
    cursor.hidden = preview.hidden = true;
  };
  // By keyboard: what is shown must be in sight.
  const go = (time) => {
    const place = (clamp(time, 0, duration) / duration) * canvas.clientWidth;
    const margin = scroll.clientWidth / 10;
    scroll.scrollLeft = clamp(scroll.scrollLeft, place + margin - scroll.clientWidth, place - margin);
    show(time);
  };

  const keys = {
    ArrowLeft: (fine) => go(now - visible() / (fine ? 500 : 50)),
    ArrowRight: (fine) => go(now + visible() / (fine ? 500 : 50)),
    ArrowDown: () => go(now - visible() / 50),
    ArrowUp: () => go(now + visible() / 50),
    PageUp: () => go(changes[after(changes, now - 1e-6) - 1] ?? 0),
    PageDown: () => go(changes[after(changes, now + 1e-6)] ?? duration),
    Home: () => go(0),
    End: () => go(duration),
    "+": () => setZoom(zoom * 1.5, now),
    "=": () => setZoom(zoom * 1.5, now),
    "-": () => setZoom(zoom / 1.5, now),
    0: () => setZoom(1),
    Escape: hide,
  };
  scroll.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key](event.shiftKey);
    if (!preview.hidden) show(now);
  });
  scroll.addEventListener("focus", () => {
    if (scroll.matches(":focus-visible")) go(now);
  });
  scroll.addEventListener("blur", hide);
  for (const kind of ["pointermove", "pointerdown"]) {
    scroll.addEventListener(kind, (event) => show(timeAt(event.clientX)));
  }
  scroll.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") hide(); // a finger that was lifted leaves, too
  });
  // The wheel belongs to the page until the timeline was clicked.
  scroll.addEventListener(
    "wheel",
    (event) => {
      const ours = event.ctrlKey || event.metaKey || document.activeElement === scroll;
      const out = event.deltaY > 0;
      if (!ours || Math.abs(event.deltaX) > Math.abs(event.deltaY) || (out && zoom <= 1 && !event.ctrlKey)) return;
      event.preventDefault();
      setZoom(zoom * Math.exp(-clamp(event.deltaY, -100, 100) / 300), timeAt(event.clientX));
      show(timeAt(event.clientX));
    },
    { passive: false },
  );
  scroll.addEventListener("scroll", drawRuler);
  addEventListener("resize", drawRuler);
  byId("in").addEventListener("click", () => setZoom(zoom * 1.5));
  byId("out").addEventListener("click", () => setZoom(zoom / 1.5));
  byId("all").addEventListener("click", () => setZoom(1));
  setZoom(1);
})();
