// Asking the service. The key, where one is needed, stays in this tab: it is forgotten with it.

const KEY = "fastface.key";

/** "online", "offline" or "locked" (a key is needed), as an event "change" each time it is another. */
export const link = new EventTarget();
link.state = "online";

function became(state) {
  if (link.state === state) return;
  link.state = state;
  link.dispatchEvent(new Event("change"));
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
    became("online");
    link.dispatchEvent(new Event("key"));
  },
};

/** What the service refused. status 0: it did not answer. */
export class Refused extends Error {
  constructor(status, code, message, wait = 0) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

function headers(more = {}) {
  const own = key.get();
  return own ? { ...more, authorization: `Bearer ${own}` } : more;
}

function refusal(status, body, wait) {
  let error = {};
  try {
    error = JSON.parse(body).error ?? {};
  } catch {
    // A proxy's page, say.
  }
  if (status === 401) became("locked");
  const message = error.message ?? `the service answered ${status}`;
  return new Refused(status, error.code ?? "http", message, Number(wait) || 0);
}

async function fetched(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    became("offline");
    throw new Refused(0, "offline", "the service does not answer");
  }
  if (!answer.ok) {
    if (answer.status !== 401) became("online");
    throw refusal(answer.status, await answer.text(), answer.headers.get("retry-after"));
  }
  became("online");
  return answer;
}

/** Ask, and get JSON. `body`: sent as JSON; a Blob as what it is. */
export async function ask(method, path, body, { signal } = {}) {
  const options = { method, signal, headers: {} };
  if (body instanceof Blob) {
    options.headers["content-type"] = body.type || "application/octet-stream";
    options.body = body;
  } else if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetched(path, options);
  return answer.status === 204 ? null : answer.json();
}

/** A file: { blob, name }. An <img> or <a> cannot send a key. */
export async function file(path, { signal } = {}) {
  const answer = await fetched(path, { method: "GET", signal, headers: {} });
  const told = answer.headers.get("content-disposition") ?? "";
  const coded = /filename\*=utf-8''([^;]+)/i.exec(told)?.[1];
  const name = coded ? decodeURIComponent(coded) : /filename="([^"]+)"/.exec(told)?.[1];
  return { blob: await answer.blob(), name: name ?? path.split("/").pop().split("?")[0] };
}

/** Server-sent events of a path: { id, event, data }. EventSource cannot send a key. */
export async function* events(path, { signal, after = "" } = {}) {
  const answer = await fetched(path, { method: "GET", signal, headers: after ? { "last-event-id": after } : {} });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const event = {};
      for (const line of part.split("\n")) {
        const [, name, content] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name) event[name] = content;
      }
      if (event.data !== undefined) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}

/** Send a file with progress, which fetch does not tell. Gives { done: a promise of the JSON, stop() }. */
export function send(path, blob, type, progress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers({ "content-type": type }))) {
      request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", (e) => progress(e.loaded, e.total));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(refusal(request.status, request.responseText, request.getResponseHeader("retry-after")));
    });
    request.addEventListener("error", () => reject(new Refused(0, "broken", "the connection broke off")));
    request.addEventListener("abort", () => reject(new Refused(0, "stopped", "stopped")));
    request.send(blob);
  });
  return { done, stop: () => request.abort() };
}

const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/** Do something again and again until the signal: `seconds()` or a number between two; slower while it fails, not
 * while nobody looks at the page, and not while a key is missing. */
export async function again(seconds, work, signal) {
  let failures = 0;
  while (!signal.aborted) {
    let wait = typeof seconds === "function" ? seconds() : seconds;
    if (!document.hidden && link.state !== "locked") {
      try {
        await work();
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Refused)) throw error;
        failures += 1;
        wait = Math.max(error.wait, Math.min(15, wait * 2 ** Math.min(failures, 4)));
      }
    }
    const wake = new AbortController();
    const stop = () => wake.abort();
    signal.addEventListener("abort", stop, { once: true });
    const looked = () => document.hidden || stop();
    document.addEventListener("visibilitychange", looked);
    link.addEventListener("key", stop);
    window.addEventListener("online", stop);
    await sleep(wait * 1000, wake.signal);
    signal.removeEventListener("abort", stop);
    document.removeEventListener("visibilitychange", looked);
    link.removeEventListener("key", stop);
    window.removeEventListener("online", stop);
  }
}

const pictures = new Map();

/** The address of a picture that was fetched with the key; kept, since it is asked for again and again. */
export function picture(path) {
  if (!pictures.has(path)) {
    const address = file(path).then(({ blob }) => URL.createObjectURL(blob));
    address.catch(() => pictures.delete(path));
    pictures.set(path, address);
  }
  return pictures.get(path);
}

link.addEventListener("key", () => {
  for (const address of pictures.values()) address.then(URL.revokeObjectURL, () => {});
  pictures.clear();
});

/** Let the browser save a file. */
export async function download(path) {
  const { blob, name } = await file(path);
  const address = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  Object.assign(anchor, { href: address, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}
