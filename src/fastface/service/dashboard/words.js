// Numbers and times as people read them.

const NUMBER = new Intl.NumberFormat("en");

export const count = (n) => NUMBER.format(n);

/** "1 person", "2 people". */
export const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

/** Seconds in a video: 0:04.2, 12:30.0, 1:02:03.4. */
export function moment(seconds, digits = 1) {
  const unit = 10 ** digits;
  const ticks = Math.max(0, Math.round(seconds * unit));
  const whole = Math.floor(ticks / unit);
  const rest = digits ? `.${String(ticks % unit).padStart(digits, "0")}` : "";
  const two = (n) => String(n).padStart(2, "0");
  const [s, m, hours] = [whole % 60, Math.floor(whole / 60) % 60, Math.floor(whole / 3600)];
  return hours ? `${hours}:${two(m)}:${two(s)}${rest}` : `${m}:${two(s)}${rest}`;
}

/** How long something takes: "4 s", "2 min 30 s", "1 h 5 min". */
export function lasting(seconds) {
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return s % 60 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${s / 60} min`;
  const m = Math.round(s / 60);
  return m % 60 ? `${Math.floor(m / 60)} h ${m % 60} min` : `${m / 60} h`;
}

/** "just now", "5 minutes ago", or the date. */
export function ago(iso, now = Date.now()) {
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${many(Math.max(1, Math.round(seconds / 60)), "minute")} ago`;
  if (seconds < 86400) return `${many(Math.round(seconds / 3600), "hour")} ago`;
  return new Date(iso).toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" });
}

export const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Bytes: 980 B, 1.5 MB, 80.0 GB. */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 999.5 && unit < units.length - 1) [n, unit] = [n / 1000, unit + 1];
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

export const speed = (n) => count(n < 10 ? Math.round(n * 10) / 10 : Math.round(n));

/** What a person is called while nobody named them: as the timeline's own label. */
export const called = (person) => person.name ?? `person ${person.id + 1}`;
