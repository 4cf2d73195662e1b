// Elements without HTML: whatever comes from the service goes in as text, or as the value of an attribute.

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "open", "htmlFor", "className"]);

/** An element. Attributes: strings and numbers; true: an empty one; null, undefined, false: none; on...: a listener. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...nodes(children));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same within a picture. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false);
}

export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value === null || value === undefined || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** Sets a text only where it is another one: what was selected stays so, and screen readers hear only what is new. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Makes the children of a list those of `items`, each kept by its key, so that focus and what was typed stay.
 * make(item) gives an element, update(element, item) is called for each. */
export function sync(list, items, key, make, update) {
  const known = list.known ?? (list.known = new Map());
  const wanted = new Set();
  let before = list.firstElementChild;
  for (const item of items) {
    const id = key(item);
    wanted.add(id);
    let element = known.get(id);
    if (!element) known.set(id, (element = make(item)));
    if (element === before) before = before.nextElementSibling;
    else list.insertBefore(element, before);
    update(element, item);
  }
  for (const [id, element] of known) {
    if (wanted.has(id)) continue;
    element.remove();
    known.delete(id);
  }
}

/** A small button: an icon, and words beside it or, where there are none, a name for screen readers. */
export function small(drawing, words, name, onclick) {
  const attributes = { class: "quiet small", type: "button", "aria-label": name, onclick };
  return h("button", attributes, drawing && icon(drawing), words);
}

const ICONS = {
  video: "M4 6h11v12H4zM15 10l5-3v10l-5-3z",
  clip: "M6 4v16M18 4v16M6 8h12M6 16h12M6 12h12",
  photo: "M4 6h16v12H4zM8 12a1.6 1.6 0 1 0 0-3.2 1.6 1.6 0 0 0 0 3.2M20 15l-5-5-7 8",
  close: "M6 6l12 12M18 6L6 18",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  down: "M12 4v11M7 11l5 5 5-5M5 20h14",
  up: "M12 20V9M7 13l5-5 5 5M5 4h14",
  back: "M14 5l-7 7 7 7",
  key: "M8 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8M12 12h9M18 12v4",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4 20c1-4 4-6 8-6s7 2 8 6",
  warning: "M12 4L2.5 20h19zM12 10v5M12 17.5v.5",
  plus: "M12 5v14M5 12h14",
};

/** A small drawing beside a word; it says nothing to screen readers. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

/** Says something to screen readers. */
export function say(words) {
  const live = document.querySelector("#said");
  live.textContent = "";
  // Another moment, or the same words twice are not heard twice.
  setTimeout(() => (live.textContent = words), 50);
}

/** A line at the bottom for a while. */
export function toast(words, bad = false) {
  const note = h("div", { class: bad ? "toast bad" : "toast" }, words);
  document.querySelector("#toasts").append(note);
  say(words);
  setTimeout(() => note.remove(), bad ? 10000 : 5000);
}

/** Asks a question; whether the answer was yes. */
export function confirmed(question, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "ask", "aria-labelledby": "question" },
      h("form", { method: "dialog" },
        h("p", { id: "question" }, question),
        h("div", { class: "buttons" },
          h("button", { value: "no", class: "quiet" }, "Keep"),
          h("button", { value: "yes", class: "danger" }, yes))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
