// People of a job: their pictures, and their names, which are typed on them.

import { again, ask, picture } from "./api.js";
import { h, say, set, small, text } from "./dom.js";
import { called, lasting, many, moment } from "./words.js";

const FIRST = 40;

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    target.show();
  }
}, { rootMargin: "300px" });

/** A person's picture, asked for when it comes near; their first letter until then, or where there is none. */
export function face(person, large = false) {
  const letter = [...(person.name ?? String(person.id + 1))][0].toUpperCase();
  const look = `face p${person.id % 12}${large ? " large" : ""}`;
  const element = h("span", { class: look, "aria-hidden": "true" }, h("span", {}, letter));
  element.show = () => {
    picture(person.thumbnail).then((address) => {
      element.replaceChildren(h("img", { src: address, alt: "" }));
      element.classList.add("seen");
    }, () => {}); // the letter stays
  };
  if (person.thumbnail) near.observe(element);
  return element;
}

/** The cards. named(person): has another name now; cut(person): clips of them are wanted. */
export function people(signal, job, all, { named, cut }) {
  const gallery = h("select", { id: "remember" }, h("option", { value: "" }, "this video only"));
  const list = h("ul", { class: "people" });
  const rest = h("button", { class: "quiet", type: "button", onclick: () => draw(all.length) });
  const element = h("section", { class: "card", "aria-labelledby": "people" },
    h("div", { class: "bar" }, h("h2", { id: "people" }, "People"),
      h("div", { class: "field" }, h("label", { htmlFor: "remember" }, "A name is for"), gallery)),
    h("p", { class: "soft" },
      all.length ? "Type a name on a picture; Enter keeps it, Escape does not." : "There is nobody to name."),
    list, rest);

  function card(person) {
    const field = h("input", {
      class: "naming", value: person.name ?? "", placeholder: called({ ...person, name: null }), maxlength: 200,
      autocomplete: "off", spellcheck: "false", "aria-label": `Name of ${called(person)}`, dir: "auto",
    });
    const told = h("p", { class: "told" });
    const portrait = face(person, true);
    const similar = h("span", { class: "soft" });
    let saving = false;

    const facts = () => {
      const known = person.name && person.similarity != null;
      text(similar, known ? `similarity ${person.similarity.toFixed(2)}` : "");
    };

    async function keep() {
      const name = field.value.trim() || null;
      if (saving || name === (person.name ?? null)) return void (field.value = person.name ?? "");
      saving = true;
      element.dataset.state = "saving";
      text(told, "…");
      try {
        const now = await ask("PATCH", `/v1/jobs/${job.id}/people/${person.id}`,
          name && gallery.value ? { name, gallery: gallery.value } : { name });
        Object.assign(person, now);
        field.value = person.name ?? "";
        element.dataset.state = "kept";
        text(told, name && gallery.value ? `kept, and remembered in ${gallery.value}` : "kept");
        say(name ? `Named ${name}` : "The name was taken away");
        named(person);
        set(field, { "aria-label": `Name of ${called(person)}` });
        set(clip, { "aria-label": `Clips of ${called(person)}` });
        facts();
      } catch (error) {
        element.dataset.state = "wrong";
        text(told, error.message);
        say(`The name was not kept: ${error.message}`);
      }
      saving = false;
    }

    field.addEventListener("keydown", (e) => {
      if (e.key === "Enter") keep();
      else if (e.key === "Escape") {
        field.value = person.name ?? "";
        text(told, "");
        element.dataset.state = "";
      }
    });
    field.addEventListener("blur", keep);
    // Who clicks on a picture means the whole name; a second click is a place in it.
    let fresh = false;
    field.addEventListener("focus", () => (fresh = true));
    field.addEventListener("click", () => {
      if (fresh) field.select();
      fresh = false;
    });
    const clip = small("clip", "Clips", `Clips of ${called(person)}`, () => cut(person));
    const seen = person.spans.length ? `${moment(person.first)} – ${moment(person.last)}` : "never on screen";
    const element = h("li", { class: `person p${person.id % 12}`, "data-person": person.id },
      h("div", { class: "portrait", onclick: () => field.focus() }, portrait, field),
      h("p", { class: "line" },
        h("b", {}, lasting(person.seconds)), h("span", { class: "soft" }, many(person.spans.length, "time"))),
      h("p", { class: "line soft" }, seen),
      h("p", { class: "line similar" }, similar), told, clip);
    facts();
    return element;
  }

  function draw(number) {
    for (const person of all.slice(list.children.length, number)) list.append(card(person));
    rest.hidden = number >= all.length;
    text(rest, `Show all ${all.length} people`);
  }
  draw(FIRST);

  again(30, async () => {
    const { galleries } = await ask("GET", "/v1/galleries", undefined, { signal });
    const chosen = gallery.value;
    const options = galleries.map((g) => h("option", { value: g.name }, `this video and the gallery ${g.name}`));
    gallery.replaceChildren(gallery.firstChild, ...options);
    gallery.value = galleries.some((g) => g.name === chosen) ? chosen : "";
  }, signal);
  return { element };
}
